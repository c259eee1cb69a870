// Two clients as web clients build them: they log in, make a room, talk, and see each other by /sync.
import { ClientEvent, RoomEvent, RoomMemberEvent, createClient } from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

const { baseUrl, users, text } = JSON.parse(process.argv[2]);
logger.disableAll?.();
for (const method of ["debug", "info", "log", "warn"]) console[method] = () => {};

async function start({ name, password }) {
    const client = createClient({ baseUrl });
    await client.loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: name },
        password,
    }).then((answer) => {
        client.setAccessToken(answer.access_token);
        client.credentials = { userId: answer.user_id };
        client.deviceId = answer.device_id;
    });
    const prepared = new Promise((resolve, reject) =>
        client.on(ClientEvent.Sync, (state, _, data) => {
            if (state === "PREPARED") resolve();
            if (state === "ERROR") reject(data.error);
        }),
    );
    await client.startClient({ lazyLoadMembers: true, threadSupport: true, initialSyncLimit: 20 });
    await prepared;
    return client;
}

const seen = (client, wanted) =>
    new Promise((resolve) =>
        client.on(RoomEvent.Timeline, (event) => {
            if (event.getContent().body === wanted) resolve(event);
        }),
    );
const joined = (client, userId) =>
    new Promise((resolve) =>
        client.on(RoomMemberEvent.Membership, (_, member) => {
            if (member.userId === userId && member.membership === "join") resolve();
        }),
    );

const [writer, reader] = [await start(users[0]), await start(users[1])];
const { room_id: roomId } = await writer.createRoom({ preset: "public_chat", name: "A room" });
const arrival = joined(writer, reader.getUserId());
await reader.joinRoom(roomId);
await arrival;
const reading = seen(reader, text);
const { event_id: sent } = await writer.sendTextMessage(roomId, text);
const event = await reading;
const room = reader.getRoom(roomId);
process.stdout.write(
    JSON.stringify({
        sent,
        seen: event.getId(),
        sender: event.getSender(),
        name: room.name,
        members: room.getJoinedMemberCount(),
    }),
);
process.exit(0);
