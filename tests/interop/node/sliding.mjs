// Two clients that follow sliding sync with Rust cryptography; each request goes to the next process of the server, of which one dies.
import { createClient } from "matrix-js-sdk";
import { SlidingSync } from "matrix-js-sdk/lib/sliding-sync.js";
import { logger } from "matrix-js-sdk/lib/logger.js";

const { baseUrls, users, texts, rooms, second } = JSON.parse(process.argv[2]);
logger.disableAll?.();
for (const method of ["debug", "info", "log", "warn", "error", "trace"]) console[method] = () => {};
const ENCRYPTION = { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } };
const LIST = { ranges: [[0, 1]], timeline_limit: 5, required_state: [["*", ""], ["m.room.member", "$LAZY"], ["m.room.member", "$ME"]] };
const polls = Object.fromEntries(baseUrls.map((url) => [url, 0]));
let next = 0;

// `counts`: what the server says is unread, by room. The SDK adds one of its own to it for what it decrypts.
const byTurns = (counts) => async (url, init) => {
    if (!String(url).includes("simplified_msc3575")) return fetch(url, init);
    const base = baseUrls[next++ % baseUrls.length];
    polls[base] += 1;
    const answer = await fetch(String(url).replace(/^http:\/\/[^/]+/, base), init);
    const { rooms = {} } = await answer.clone().json();
    for (const [roomId, { notification_count: count }] of Object.entries(rooms)) {
        counts[roomId] ??= [];
        if (count !== undefined && counts[roomId].at(-1) !== count) counts[roomId].push(count);
    }
    return answer;
};

async function start({ name, password }, counts = {}) {
    const login = await createClient({ baseUrl: baseUrls[0] }).loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: name },
        password,
    });
    const client = createClient({
        baseUrl: baseUrls[0],
        fetchFn: byTurns(counts),
        accessToken: login.access_token,
        userId: login.user_id,
        deviceId: login.device_id,
    });
    await client.initRustCrypto({ useIndexedDB: false });
    const sliding = new SlidingSync(baseUrls[0], new Map([["all", { ...LIST }]]), { ...LIST, ranges: undefined, timeline_limit: 20 }, client, 10_000);
    await client.startClient({ slidingSync: sliding, threadSupport: true });
    await until("the first answer", () => sliding.getListData("all"));
    return [client, sliding];
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
async function until(what, condition) {
    const deadline = performance.now() + 300_000;
    while (performance.now() < deadline) {
        const found = await condition();
        if (found) return found;
        await pause();
    }
    throw new Error(`waited in vain: ${what}`);
}
const membership = (client, roomId, wanted) =>
    until(`${wanted} of ${client.getUserId()}`, () => client.getRoom(roomId)?.getMyMembership() === wanted);
const reads = (client, roomId, text) =>
    until(`"${text}" for ${client.getUserId()}`, () =>
        client
            .getRoom(roomId)
            ?.getLiveTimeline()
            .getEvents()
            .find((event) => event.isEncrypted() && event.getContent().body === text),
    );

const counts = {};
const [alice, aliceSliding] = await start(users[0], counts);
const [bob] = await start(users[1]);

// More rooms than the window shows; then it grows.
for (const name of rooms) await alice.createRoom({ name });
await until("the number of rooms", () => aliceSliding.getListData("all").joinedCount === rooms.length);
const shownFirst = alice.getRooms().length;
aliceSliding.setListRanges("all", [[0, 19]]);
await until("all rooms", () => alice.getRooms().length === rooms.length);

// An invite to a secret room, and a talk there.
const { room_id: roomId } = await alice.createRoom({ name: "Secret", invite: [bob.getUserId()], initial_state: [ENCRYPTION] });
await membership(bob, roomId, "invite");
await bob.joinRoom(roomId);
await membership(bob, roomId, "join");
await until("bob in the room", () => alice.getRoom(roomId)?.getMember(bob.getUserId())?.membership === "join");
await alice.sendTextMessage(roomId, texts[0]);
await reads(bob, roomId, texts[0]);
await bob.sendTextMessage(roomId, texts[1]);
const answer = await reads(alice, roomId, texts[1]);

// What shows in a list of rooms: unread messages, who types, who has read, tags.
await until("an unread message", () => alice.getRoom(roomId).getUnreadNotificationCount());
await until("what the server counts", () => counts[roomId].at(-1) > 0);
await bob.sendTyping(roomId, true, 30_000);
await until("bob types", () => alice.getRoom(roomId).getMember(bob.getUserId()).typing);
await alice.sendReadReceipt(answer);
await until("nothing unread", () => alice.getRoom(roomId).getUnreadNotificationCount() === 0);
await until("that the server counts none", () => counts[roomId].at(-1) === 0);
await until("the receipt", () => bob.getRoom(roomId).hasUserReadEvent(alice.getUserId(), answer.getId()));
await alice.setRoomTag(roomId, "m.favourite", { order: 0.5 });
await until("the tag", () => alice.getRoom(roomId).tags["m.favourite"]);
await alice.setRoomName(roomId, "Renamed");
await until("the name", () => bob.getRoom(roomId).name === "Renamed");

// Put out of the room, one is told.
await alice.kick(roomId, bob.getUserId());
await membership(bob, roomId, "leave");

// A device that begins anew subscribes to a room that one left by oneself, while the process dies that answers it.
const { room_id: leftId } = await alice.createRoom({ name: "Left", preset: "public_chat" });
await bob.joinRoom(leftId);
await membership(bob, leftId, "join");
await alice.sendTextMessage(leftId, "before");
const bodies = (client) => client.getRoom(leftId)?.getLiveTimeline().getEvents().map((event) => event.getContent().body);
await until("the last message", () => bodies(bob)?.includes("before"));
await bob.leave(leftId);
await alice.sendTextMessage(leftId, "after");
await alice.setRoomName(leftId, "Secret");
const [phone, phoneSliding] = await start(users[1]);
phoneSliding.modifyRoomSubscriptions(new Set([leftId]));
process.kill(second, "SIGKILL");
await membership(phone, leftId, "leave");
await until("what was said until then", () => bodies(phone)?.includes("before"));
const left = { name: phone.getRoom(leftId).name, after: bodies(phone).includes("after") };

process.stdout.write(JSON.stringify({ unread: counts[roomId], shownFirst, left, polls: Object.values(polls) }));
process.exit(0);
