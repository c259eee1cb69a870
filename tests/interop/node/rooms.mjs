// Rooms that are found, asked for, searched, upgraded and reported: by a host and a guest on two processes.
import { Direction } from "matrix-js-sdk";
import { membership, parameters, refusal, report, shown, start, until } from "./common.mjs";

const { baseUrls, users, words } = parameters;
const [host, guest] = [await start(users[0], baseUrls[0]), await start(users[1], baseUrls[1])];
const server = host.getDomain();
const create = async (name, more = {}) => (await host.createRoom({ name, ...more })).room_id;
const child = (space, room, content = {}) => host.sendStateEvent(space, "m.space.child", { via: [server], ...content }, room);

// The directory: one looks for a room, sees what it is, and joins by its alias.
const tea = await create("Tea house", { visibility: "public", preset: "public_chat", topic: "All about tea", room_alias_name: "tea" });
await create("Coffee house", { visibility: "public", preset: "public_chat" });
const directory = await guest.publicRooms({ limit: 10, filter: { generic_search_term: "TEA" } });
const summary = await guest.getRoomSummary(`#tea:${server}`);
await guest.joinRoom(`#tea:${server}`);
await membership(guest, tea, "join");

// Search, in English and in a language without spaces.
const first = (await host.sendTextMessage(tea, words.english[0])).event_id;
const second = (await host.sendTextMessage(tea, words.chinese[0])).event_id;
await shown(guest, tea, second);
const search = async (term) => (await guest.searchMessageText({ query: term })).search_categories.room_events.results.map(({ result }) => result.event_id);
const finds = async (term, wanted) => await until(`"${term}"`, async () => (await search(term)).join() === wanted);
await finds(words.english[1], first);
await finds(words.chinese[1], second);
const found = await guest.searchRoomEvents({ term: words.english[1], filter: { rooms: [tea] } });
await host.redactEvent(tea, second);
await finds(words.chinese[1], "");

// A space, a page at a time; what a guest may not see is not in it.
const space = await create("House", { preset: "public_chat", creation_content: { type: "m.space" } });
const attic = await create("Attic", { preset: "private_chat" });
const lobby = await create("Lobby", {
    room_version: "11",
    initial_state: [{ type: "m.room.join_rules", state_key: "", content: { join_rule: "knock" } }],
});
for (const [room, order] of [[tea, "a"], [lobby, "b"], [attic, "c"]]) await child(space, room, { order, suggested: room === tea });
const hierarchy = [];
for (let from, page; ; from = page.next_batch) {
    page = await guest.getRoomHierarchy(space, 2, 3, false, from);
    hierarchy.push(...page.rooms.map((room) => room.name));
    if (!page.next_batch) break;
}
const suggested = (await guest.getRoomHierarchy(space, 10, 3, true)).rooms.map((room) => room.name);

// One knocks and is let in; another time one is turned away.
const forbidden = await refusal(guest.joinRoom(lobby));
await guest.knockRoom(lobby, { reason: "let me in" });
await membership(guest, lobby, "knock");
const knocker = await until("the knock", () => host.getRoom(lobby)?.getMembersWithMembership("knock")[0]);
const reason = knocker.events.member.getContent().reason;
await host.invite(lobby, guest.getUserId());
await membership(guest, lobby, "invite");
await guest.joinRoom(lobby);
await membership(guest, lobby, "join");

// The room gets a new version: its guests find the way.
const { replacement_room: upgraded } = await host.upgradeRoom(tea, "12");
const tombstone = await until("the tombstone", () => guest.getRoom(tea).currentState.getStateEvents("m.room.tombstone", ""));
await guest.joinRoom(upgraded);
await membership(guest, upgraded, "join");
const history = guest.getRoomUpgradeHistory(upgraded, true).map((room) => room.roomId);
const sending = await refusal(guest.sendTextMessage(tea, "too late"));
const alias = (await guest.getRoomIdForAlias(`#tea:${server}`)).room_id;

const at = await guest.timestampToEvent(lobby, Date.now(), Direction.Backward);
await shown(guest, lobby, at.event_id);
await guest.reportEvent(lobby, at.event_id, -100, "spam");
await guest.reportRoom(lobby, "spam");
const shared = await guest._unstable_getSharedRooms(host.getUserId());
await guest.leave(lobby);
await guest.forget(lobby);
const away = await refusal(guest.joinRoom(lobby));

report({
    directory: directory.chunk.map(({ name, num_joined_members: members }) => [name, members]),
    summary: [summary.name, summary.topic, summary.join_rule],
    highlights: found.highlights,
    hierarchy,
    suggested,
    knocking: [forbidden, reason, away],
    upgrade: [tombstone.getContent().replacement_room === upgraded, history.join() === [tea, upgraded].join(), sending, alias === upgraded],
    shared: shared.toSorted().join() === [tea, lobby, upgraded].toSorted().join(),
});
