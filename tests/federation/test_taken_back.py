"""What came into a room that was entered without most of its members, and is rejected when they are known (decision 62)."""

from pytest_twisted import ensureDeferred

from tests.federation.hall import ROOM
from tests.federation.network import Scripted
from tests.federation.pair import text
from tests.federation.remote_room import catch_up, send
from tests.federation.resident import enter, fetch_members, with_banned
from tests.server import TestServer, path_part


@ensureDeferred
async def test_what_had_gone_with_what_was_redacted(server: TestServer, other: Scripted) -> None:
    """The name of the room and a reference are there again with the events that say so; what is rejected refers to nothing."""
    resident, banned = with_banned(other)
    kept = resident.name_of(8)
    name = resident.add("m.room.name", {"name": "Hall"})
    resident.latest[name.key] = name
    bob = await enter(server, resident)
    fine = resident.says(kept, "m.room.message", text("fine"))
    about = {"m.relates_to": {"rel_type": "m.reference", "event_id": fine.event_id}}
    reference = resident.says(kept, "m.room.message", {**text("see above"), **about})
    spam = resident.says(banned, "m.room.message", {**text("see there"), **about})
    redactions = [
        resident.says(banned, "m.room.redaction", {}, redacts=one.event_id) for one in (name, reference)
    ]
    await send(server, other, *(one.pdu for one in (fine, reference, spam, *redactions)))
    path = f"rooms/{path_part(ROOM)}"
    referring = f"/_matrix/client/v1/{path}/relations/{path_part(fine.event_id)}"
    summary = f"/_matrix/client/v1/room_summary/{path_part(ROOM)}"
    for shown_name, event in ((None, spam), ("Hall", reference)):
        said = await server.ok("GET", f"{path}/event/{path_part(fine.event_id)}", token=bob)
        bundled = [one["event_id"] for one in said["unsigned"]["m.relations"]["m.reference"]["chunk"]]
        page = await server.ok("GET", referring, token=bob)
        listed = [one["event_id"] for one in page["chunk"]]
        assert (bundled, listed) == ([event.event_id], [event.event_id])
        assert (await server.ok("GET", summary, token=bob)).get("name") == shown_name
        await fetch_members(server)


@ensureDeferred
async def test_whom_something_mentioned_that_is_rejected(server: TestServer, other: Scripted) -> None:
    """It is unread no more, once it is gone."""
    resident, banned = with_banned(other)
    bob = await enter(server, resident)
    content = {**text("bob!"), "m.mentions": {"user_ids": [resident.user]}}
    await send(server, other, resident.says(banned, "m.room.message", content).pdu)
    counts, said = [], []
    for _ in range(2):
        synced = await server.ok("GET", "sync", token=bob)
        shown = synced["rooms"]["join"][ROOM]
        counts.append(shown["unread_notifications"]["highlight_count"])
        said.append([one["type"] for one in shown["timeline"]["events"]].count("m.room.message"))
        await fetch_members(server)
        await catch_up(server)
    assert (counts, said) == ([1, 0], [1, 0])
