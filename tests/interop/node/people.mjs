// What clients tell of people and keep for them: by two users on two processes.
import { parameters, report, shown, start, until } from "./common.mjs";

const { baseUrls, users } = parameters;
const [ann, ben] = [await start(users[0], baseUrls[0]), await start(users[1], baseUrls[1])];
const { room_id: roomId } = await ann.createRoom({ preset: "public_chat", name: "A room" });
await ben.joinRoom(roomId);
await until("each other", () => ann.getRoom(roomId)?.getMember(ben.getUserId()));

// Names go into the rooms, and into the directory of users; other fields stay where they are.
await ben.setDisplayName("Ben 李小龍");
await until("the name", () => ann.getRoom(roomId).getMember(ben.getUserId()).rawDisplayName === "Ben 李小龍");
const people = await until("the directory", async () => {
    const { results } = await ann.searchUserDirectory({ term: "小龍", limit: 5 });
    return results.length > 0 && results;
});
await ben.setExtendedProfileProperty("m.tz", "Asia/Shanghai");
await ben.setExtendedProfileProperty("org.example.team", { name: "kung fu" });
const profile = await ann.getExtendedProfile(ben.getUserId());
await ben.deleteExtendedProfileProperty("org.example.team");
const gone = (await ann.getExtendedProfileProperty(ben.getUserId(), "org.example.team")) === undefined;

// Presence.
await ben.setPresence({ presence: "unavailable", status_msg: "at lunch" });
await until("presence", () => ann.getUser(ben.getUserId())?.presenceStatusMsg === "at lunch");
const presence = await ann.getPresence(ben.getUserId());

// What is kept for a user comes to their clients, and goes.
await ann.setAccountData("org.example.colour", { colour: "red" });
await until("account data", () => ann.getAccountData("org.example.colour")?.getContent().colour === "red");
await ann.deleteAccountData("org.example.colour");
await until("none", () => !Object.keys(ann.getAccountData("org.example.colour")?.getContent() ?? {}).length);
await ann.setIgnoredUsers([ben.getUserId()]);
await until("the list", () => ann.isUserIgnored(ben.getUserId()));
await ben.sendTextMessage(roomId, "unheard");
// What is not told yet when the list changes again is told by the new one.
await ann.setAccountData("org.example.heard", { upto: "here" });
await until("what came before", () => ann.getAccountData("org.example.heard")?.getContent().upto === "here");
await ann.setIgnoredUsers([]);
await until("an empty list", () => !ann.isUserIgnored(ben.getUserId()));
const heard = (await ben.sendTextMessage(roomId, "heard")).event_id;
await shown(ann, roomId, heard);

// Calls: who relays, what carries them, and who leaves when their client dies.
const call = { application: "m.call", call_id: "", foci_preferred: [], device_id: ben.getDeviceId() };
const key = `_${ben.getUserId()}_${ben.getDeviceId()}_m.call`;
await ann.sendStateEvent(roomId, "m.room.power_levels", { ...ann.getRoom(roomId).currentState.getStateEvents("m.room.power_levels", "").getContent(), events: { "org.matrix.msc3401.call.member": 0 } }, "");
const inCall = () => Boolean(Object.keys(ann.getRoom(roomId).currentState.getStateEvents("org.matrix.msc3401.call.member", key)?.getContent() ?? {}).length);
const { delay_id: leave } = await until("the permission", () =>
    ben._unstable_sendDelayedStateEvent(roomId, { delay: 60_000 }, "org.matrix.msc3401.call.member", {}, key).catch(() => null),
);
await ben.sendStateEvent(roomId, "org.matrix.msc3401.call.member", call, key);
await until("the caller", inCall);
await ben._unstable_restartScheduledDelayedEvent(leave);
const { scheduled, delayed_events: delayed } = await ben._unstable_getDelayedEvents();
await ben._unstable_sendScheduledDelayedEvent(leave);
await until("nobody there", () => !inCall());

const [turn, transports, openId, protocols, limits] = await Promise.all([
    ann.turnServer(),
    ann._unstable_getRTCTransports(),
    ann.getOpenIdToken(),
    ann.getThirdpartyProtocols(),
    ann.fetchCapabilities(),
]);
report({
    people: people.map((one) => [one.user_id, one.display_name]),
    profile,
    gone,
    status: presence.status_msg,
    unheard: ann.getRoom(roomId).getLiveTimeline().getEvents().filter((event) => event.getContent().body === "unheard").length,
    delayed: (scheduled ?? delayed).map((one) => one.delay_id === leave),
    turn: turn.uris,
    transports,
    openId: [openId.token_type, openId.matrix_server_name],
    protocols,
    version: limits["m.room_versions"].default,
});
