// Threads as a client lists and pages them; what one process wrote, another one renders.
import { Direction, ThreadFilterType } from "matrix-js-sdk";
import { parameters, report, start, until } from "./common.mjs";

const { baseUrls, users, count } = parameters;
const [alice, bob] = [await start(users[0], baseUrls[0], false), await start(users[1], baseUrls[1])];
const bobsPhone = await start(users[1], baseUrls[0], false);
const { room_id: roomId } = await alice.createRoom({ preset: "public_chat", name: "A room" });
await bob.joinRoom(roomId);

const text = async (client, body, relation) =>
    (await client.sendMessage(roomId, { msgtype: "m.text", body, ...(relation && { "m.relates_to": relation }) })).event_id;
const roots = [];
const replies = {};
for (let number = 0; number < count; number++) {
    const root = await text(alice, `root ${number}`);
    roots.push(root);
    const speaker = number % 2 ? bobsPhone : alice;
    replies[root] = [];
    for (let reply = 0; reply <= number % 3; reply++)
        replies[root].push(await text(speaker, `reply ${number}.${reply}`, { rel_type: "m.thread", event_id: root }));
}
const newest = [...roots].reverse();

async function pages(kind) {
    const found = [];
    for (let from = null, page; ; from = page.end) {
        page = await bob.createThreadListMessagesRequest(roomId, from, 6, Direction.Backward, kind);
        found.push(...page.chunk.toReversed()); // the SDK has turned them round
        if (!page.end) return found;
    }
}
const [all, mine] = [await pages(ThreadFilterType.All), await pages(ThreadFilterType.My)];
const summary = ({ unsigned }) => unsigned["m.relations"]["m.thread"];

// Both ways, each reply once.
const order = {};
for (const direction of [Direction.Backward, Direction.Forward]) {
    order[direction] = [];
    for (let from, page; ; from = page.next_batch) {
        page = await bob.fetchRelations(roomId, roots[2], "m.thread", null, { dir: direction, limit: 2, from });
        order[direction].push(...page.chunk.map((event) => event.event_id));
        if (!page.next_batch) break;
    }
}

// The clients' own lists agree with what /sync told.
const room = await until("the room", () => bob.getRoom(roomId));
await room.createThreadsTimelineSets();
await room.fetchRoomThreads();
await until("all threads", () => roots.every((root) => room.getThread(root)));

// Without its last reply a thread is shorter; without its root's content it is still there.
await alice.redactEvent(roomId, replies[roots[2]].at(-1));
await alice.redactEvent(roomId, roots[0]);
await until("the redaction", () => room.findEventById(roots[0])?.isRedacted() || room.getThread(roots[0])?.rootEvent?.isRedacted());
const after = await pages(ThreadFilterType.All);

report({
    listed: all.map((event) => event.event_id).join() === newest.join(),
    mine: mine.map((event) => event.event_id).join() === newest.filter((root) => roots.indexOf(root) % 2).join(),
    summaries: all.every((event) => summary(event).count === replies[event.event_id].length && summary(event).latest_event.event_id === replies[event.event_id].at(-1)),
    participated: all.every((event) => summary(event).current_user_participated === (roots.indexOf(event.event_id) % 2 === 1)),
    forward: order.f.join() === replies[roots[2]].join(),
    backward: order.b.join() === [...replies[roots[2]]].reverse().join(),
    shorter: summary(after.find((event) => event.event_id === roots[2])).count,
    gone: after.find((event) => event.event_id === roots[0])?.content,
});
