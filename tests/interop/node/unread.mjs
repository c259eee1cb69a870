// What is unread: two devices of one user on two processes, and somebody who writes to them, in the room and in a thread.
import { EventTimelineSet, Method, ReceiptType } from "matrix-js-sdk";
import { parameters, report, shown, start, until } from "./common.mjs";

const { baseUrls, users, gateway } = parameters;
const [alice, phone, laptop] = [await start(users[0], baseUrls[0], false), await start(users[1], baseUrls[0]), await start(users[1], baseUrls[1])];
const bob = phone.getUserId();
const { room_id: roomId } = await alice.createRoom({ preset: "public_chat", name: "A room" });
for (const device of [phone, laptop]) device.setNotifTimelineSet(new EventTimelineSet(undefined, { timelineSupport: true }));
await phone.joinRoom(roomId);
await until("the room", () => laptop.getRoom(roomId));

const counts = (client) => ["total", "highlight"].map((kind) => client.getRoom(roomId).getRoomUnreadNotificationCount(kind));
const inThread = (client, root) => client.getRoom(roomId).getThreadUnreadNotificationCount(root, "total");
const counted = (client, ...wanted) => until(`${wanted} unread, not ${counts(client)}`, () => `${counts(client)}` === `${wanted}`);
const send = async (content) => (await alice.sendMessage(roomId, { msgtype: "m.text", ...content })).event_id;
const sees = async (eventId) => (await Promise.all([phone, laptop].map((client) => shown(client, roomId, eventId))))[0];
await laptop.setPusher({
    app_id: "app", pushkey: bob, kind: "http", app_display_name: "App", device_display_name: "Laptop", lang: "en",
    data: { url: gateway, format: "event_id_only" },
});

// A message, one that names the reader, and one of a word that the other device told the server to highlight.
await phone.addPushRule("global", "content", "tea", { pattern: "tea", actions: ["notify", { set_tweak: "highlight" }] });
await until("the rule", () => laptop.pushRules.global.content.some((rule) => rule.rule_id === "tea"));
const root = await send({ body: "one" });
await send({ body: "two", "m.mentions": { user_ids: [bob] } });
const last = await send({ body: "a cup of tea" });
for (const device of [phone, laptop]) await counted(device, 3, 2);

// Read on one, it is read on the other; what is in a thread counts there only.
const thread = { rel_type: "m.thread", event_id: root, is_falling_back: true, "m.in_reply_to": { event_id: root } };
const reply = await send({ body: "in the thread", "m.relates_to": thread });
for (const device of [phone, laptop]) await until("a thread's count", () => inThread(device, root) === 1);
await phone.sendReceipt(await sees(last), ReceiptType.Read, {}, false);
await counted(laptop, 0, 0);
const threadOnly = inThread(laptop, root);
await laptop.sendReceipt(await sees(reply), ReceiptType.ReadPrivate);
await until("the thread is read", () => inThread(phone, root) === 0);
const publicly = alice.getRoom(roomId).getReadReceiptForUserId(bob, true, ReceiptType.ReadPrivate);

// An edit and a reaction show, and count nothing; own messages read what is before them.
const edited = { msgtype: "m.text", body: "ONE" };
await send({ body: "* ONE", "m.new_content": edited, "m.relates_to": { rel_type: "m.replace", event_id: root } });
const { event_id: reaction } = await alice.sendEvent(roomId, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: last, key: "👍" } });
await sees(reaction);
await until("the edit", async () => (await sees(root)).getContent().body === "ONE");
const quiet = counts(laptop);
await send({ body: "five" });
await counted(laptop, 1, 0);
await phone.sendTextMessage(roomId, "six");
await counted(laptop, 0, 0);

// What it was notified of is listed, newest first, a few at a time.
const listed = [];
for (let from; listed.length < 10; ) {
    const page = await laptop.http.authedRequest(Method.Get, "/notifications", { limit: 2, from });
    listed.push(...page.notifications.map(({ event, read }) => [event.content.body, read]));
    if (!(from = page.next_token)) break;
}
// A muted room is quiet; without its rule it is not.
await phone.setRoomMutePushRule("global", roomId, true);
await until("the mute", () => laptop.getRoomPushRule("global", roomId));
await sees(await send({ body: "seven" }));
const muted = counts(laptop);
await phone.setRoomMutePushRule("global", roomId, false);
await until("no mute", () => !laptop.getRoomPushRule("global", roomId));
await send({ body: "eight" });
await counted(laptop, 1, 0);

const pushers = (await phone.getPushers()).pushers.map(({ pushkey, device_display_name: name }) => [pushkey, name]);
report({ threadOnly, publicly: publicly?.eventId ?? null, quiet, listed, muted, pushers });
