// matrix-bot-sdk: a moderator's bot with its spaces, power levels and aliases, and a person who meets it.
import { registerHooks } from "node:module";
import { parameters, refusal, report, until } from "./common.mjs";

// Its cryptography is a native library that npm does not bring; this bot uses none.
const CRYPTO = "@matrix-org/matrix-sdk-crypto-nodejs";
registerHooks({ resolve: (name, context, next) => (name === CRYPTO ? { url: "node:os", shortCircuit: true } : next(name, context)) });
const { AutojoinRoomsMixin, LogService, MatrixAuth, PowerLevelAction, RichConsoleLogger, Space } = await import("matrix-bot-sdk");
LogService.setLogger({ ...new RichConsoleLogger(), ...Object.fromEntries(["info", "warn", "error", "debug", "trace"].map((level) => [level, () => {}])) });

const { baseUrls, users, server } = parameters;
const [bot, person] = await Promise.all(users.map(({ name, password }, number) => new MatrixAuth(baseUrls[number]).passwordLogin(name, password)));
const [botId, personId] = await Promise.all([bot.getUserId(), person.getUserId()]);
const heard = [];
bot.on("room.message", (room, event) => event.sender === personId && heard.push([room, event]));
const upgrades = [];
bot.on("room.upgraded", (room, event) => upgrades.push([room, event.content.predecessor.room_id]));
AutojoinRoomsMixin.setupOnClient(bot);
await bot.start();

// Invited, it comes; asked, it answers.
const room = await person.createRoom({ name: "Den", invite: [botId], room_version: "11", power_level_content_override: { users: { [personId]: 100, [botId]: 50 } } });
await until("the bot", async () => (await person.getJoinedRoomMembers(room)).includes(botId));
const asked = await person.sendText(room, "who are you?");
const [, question] = await until("the question", () => heard.find(([, event]) => event.event_id === asked));
const answer = await bot.replyNotice(room, question, "a bot");
await bot.sendReadReceipt(room, asked);
const reaction = await bot.unstableApis.addReactionToEvent(room, asked, "👋");
const related = await person.getRelationsForEvent(room, asked, "m.annotation");
const fallback = (await person.getEvent(room, answer)).content["m.relates_to"]["m.in_reply_to"].event_id === asked;

// It knows what it may do, and does it; what it may not is refused.
const may = [PowerLevelAction.Ban, PowerLevelAction.NotifyRoom].map((action) => bot.userHasPowerLevelForAction(botId, room, action));
await bot.redactEvent(room, asked, "curious");
const redacted = (await person.getRawEvent(room, asked)).unsigned.redacted_because.content.reason;
const forbidden = await refusal(bot.setUserPowerLevel(botId, room, 100));

// A space with rooms of its own; an alias, the directory, data of a room and of the account.
// (Its own `createSpace` names the creator in the power levels, which room version 12 forbids.)
const createSpace = async (name, localpart) =>
    new Space(await bot.createRoom({ name, preset: "public_chat", room_alias_name: localpart, creation_content: { type: "m.space" } }), bot);
const [space, child] = [await createSpace("Bots' space", "bots"), await createSpace("Inner", "inner")];
await space.addChildSpace(child, { suggested: true, order: "a" });
await space.addChildRoom(room, { suggested: false });
const children = Object.keys(await space.getChildEntities()).toSorted().join() === [child.roomId, room].toSorted().join();
await bot.setDirectoryVisibility(space.roomId, "public");
const visibility = await person.getDirectoryVisibility(space.roomId);
const resolved = (await person.resolveRoom(`#bots:${server}`)) === space.roomId;
await person.joinRoom(`#bots:${server}`);
await bot.setRoomAccountData("org.example.bot", room, { seen: 1 });
await bot.setAccountData("org.example.bot", { rooms: [room] });
const data = [(await bot.getRoomAccountData("org.example.bot", room)).seen, (await bot.getAccountData("org.example.bot")).rooms[0] === room];
await bot.setPresenceStatus("online", "moderating");
const presence = (await person.getPresenceStatusFor(botId)).statusMessage;
const members = (await person.getRoomMembers(room, null, ["join"])).map((event) => event.membershipFor).toSorted();
const openId = (await bot.getOpenIDConnectToken()).matrix_server_name;

// Upgraded, the room is followed; its past is told in order.
const { replacement_room: next } = await person.doRequest("POST", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/upgrade`, null, { new_version: "12" });
await person.inviteUser(botId, next);
await until("the upgrade", () => upgrades.some(([at, from]) => at === next && from === room));
const history = await bot.getRoomUpgradeHistory(next);
await bot.leaveRoom(room, "moved");
await bot.forgetRoom(room);
await bot.stop();

report({
    related: related.chunk.map((event) => event.event_id === reaction),
    fallback, may: await Promise.all(may), redacted, forbidden, children, visibility, resolved, data, presence,
    members: members.join() === [botId, personId].toSorted().join(),
    openId,
    history: [history.previous.map(({ roomId }) => roomId === room), history.current.version],
});
