// Two clients that follow sliding sync with Rust cryptography talk while a process of the server is killed again and again.
// What gets no answer is asked again, the same thing, of the other process. All that arrives is written down.
import { existsSync, writeFileSync } from "node:fs";
import { createClient } from "matrix-js-sdk";
import { SlidingSync } from "matrix-js-sdk/lib/sliding-sync.js";
import { membership, parameters, report, until } from "./common.mjs";

const { baseUrls, users, kills, each } = parameters;
const ENCRYPTION = { algorithm: "m.megolm.v1.aes-sha2", rotation_period_msgs: 3 };
const LIST = { ranges: [[0, 19]], timeline_limit: 50, required_state: [["*", ""], ["m.room.member", "$LAZY"], ["m.room.member", "$ME"]] };
const TO_DEVICE = "m.room.encrypted";
const tokens = {};
let next = 0;
let lost = 0;

// `told`: the events of timelines and the messages to the device, in the order in which they came.
const byTurns = (told) => async (url, init) => {
    const path = String(url).replace(/^http:\/\/[^/]+/, "");
    for (;;) {
        try {
            const answer = await fetch(baseUrls[next++ % baseUrls.length] + path, init);
            const text = await answer.text();
            if (path.includes("simplified_msc3575")) write(told, answer.status, JSON.parse(text));
            return new Response(text, answer);
        } catch (error) {
            if (init?.signal?.aborted) throw error;
            lost += 1;
            await new Promise((resolve) => setTimeout(resolve, 20));
        }
    }
};

function write(told, status, { rooms = {}, extensions = {} }) {
    if (status !== 200) told.refused += 1;
    for (const [roomId, { timeline = [], initial, limited }] of Object.entries(rooms)) {
        if (initial) told.initial.push(roomId);
        else if (limited) told.limited.push(roomId);
        told.events.push(...timeline.map((event) => event.event_id));
    }
    const messages = extensions.to_device?.events ?? [];
    told.messages.push(...messages.filter(({ type }) => type === TO_DEVICE).map(({ content }) => Object.values(content.ciphertext)[0].body));
}

async function start({ name, password }) {
    const told = { refused: 0, initial: [], limited: [], events: [], messages: [] };
    const { access_token: accessToken, user_id: userId, device_id: deviceId } = await createClient({ baseUrl: baseUrls[0] }).loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: name },
        password,
    });
    const client = createClient({ baseUrl: baseUrls[0], fetchFn: byTurns(told), accessToken, userId, deviceId });
    await client.initRustCrypto({ useIndexedDB: false });
    const sliding = new SlidingSync(baseUrls[0], new Map([["all", LIST]]), { ...LIST, ranges: undefined }, client, 10_000);
    await client.startClient({ slidingSync: sliding, threadSupport: true });
    await until(`the first answer to ${name}`, () => sliding.getListData("all"));
    tokens[userId] = accessToken;
    return { client, told };
}

const parties = [await start(users[0]), await start(users[1])];
const [alice, bob] = parties.map(({ client }) => client);
const { room_id: roomId } = await alice.createRoom({
    preset: "private_chat",
    invite: [bob.getUserId()],
    initial_state: [{ type: "m.room.encryption", state_key: "", content: ENCRYPTION }],
});
await membership(bob, roomId, "invite");
await bob.joinRoom(roomId);
await membership(bob, roomId, "join");
await until("bob in the room", () => alice.getRoom(roomId)?.getMember(bob.getUserId())?.membership === "join");

// Each time the process dies amid what both say, and a room is made that the other enters.
const said = { [alice.getUserId()]: [], [bob.getUserId()]: [] };
const made = [];
async function talk(client, round) {
    for (let number = 0; number < each; number += 1) {
        const text = `${round} ${number}`;
        await client.sendTextMessage(roomId, text);
        said[client.getUserId()].push(text);
        if (client === alice && number === 1) writeFileSync(`kill-${round}`, "");
    }
}
async function meet(round) {
    const { room_id: met } = await alice.createRoom({ name: `Room ${round}`, preset: "public_chat" });
    await bob.joinRoom(met);
    made.push(met);
}
for (let round = 0; round < kills; round += 1) {
    await Promise.all([talk(alice, round), talk(bob, round), meet(round)]);
    await until("the process again", () => existsSync(`back-${round}`));
}

// Everything arrives, each thing once, in the order of the server.
const total = 2 * kills * each;
const encrypted = (client) => (client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? []).filter((event) => event.isEncrypted());
const bodies = (client) => encrypted(client).filter((event) => event.getContent().msgtype === "m.text");
for (const client of [alice, bob]) {
    await until(`all messages for ${client.getUserId()}`, async () => {
        // Of what one sent oneself the SDK decrypts the echo only when it is looked at.
        for (const event of encrypted(client)) await client.decryptEventIfNeeded(event);
        return bodies(client).length >= total;
    });
    for (const met of made) await membership(client, met, "join");
}
const { chunk } = await alice.http.authedRequest("GET", `/rooms/${encodeURIComponent(roomId)}/messages`, { dir: "f", limit: "1000" }, undefined, {
    prefix: "/_matrix/client/v3",
});
const ordered = chunk.filter(({ type }) => type === "m.room.encrypted").map(({ event_id: id }) => id);
const twice = (values) => values.length - new Set(values).size;
report({
    lost: lost > 0,
    sent: ordered.length,
    clients: parties.map(({ client, told }) => ({
        read: Object.entries(said).every(([userId, texts]) => {
            const read = bodies(client).filter((event) => event.getSender() === userId).map((event) => event.getContent().body);
            return read.join() === texts.join();
        }),
        told: told.events.filter((id) => ordered.includes(id)).join() === ordered.join(),
        twice: [twice(told.events), twice(told.messages), twice(told.initial.filter((id) => made.includes(id)))],
        initial: made.every((id) => told.initial.includes(id)),
        refused: told.refused,
        keys: told.messages.length > 0,
    })),
});
