"""What came into a room that was entered without most of its members, and is rejected when they are known (decision 62)."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.matrix.redact_on_ban import REDACT_EVENTS
from synapse_lite.rooms.redact_on_ban import AT_ONCE, RedactOnBan
from synapse_lite.rooms.taken_back import TakenBackRedactions
from synapse_lite.tasks.actions.redact_on_ban import REDACT_ON_BAN, RedactOnBanTask
from synapse_lite.tasks.outcome import Done
from tests.federation.hall import CREATOR, ROOM, VERSION
from tests.federation.network import Scripted
from tests.federation.pair import text
from tests.federation.remote_room import catch_up, send
from tests.federation.resident import Resident, enter, fetch_members, with_banned
from tests.federation.tasks import run_pending
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


def redacting_ban(resident: Resident, sender: str, target: str) -> Event:
    """By what was known of the sender when they came."""
    own = next(one for one in resident.events if one.key == ("m.room.member", sender))
    auth = [*resident.auth[:2], own, resident.latest["m.room.member", target]]
    draft = Draft("m.room.member", sender, {"membership": "ban", REDACT_EVENTS: True}, 9_000, target)
    before, leaned_on = ([one.reference for one in some] for some in ([resident.joined], auth))
    return build_event(draft, VERSION, ROOM, before, leaned_on, 20, resident.other.key)


async def go_on(server: TestServer) -> Any:
    events, state = server.core.events, server.core.state
    task = RedactOnBanTask(events, RedactOnBan(events, state), TakenBackRedactions(events, state))
    return await run_pending(server, REDACT_ON_BAN, task)


async def count_redacted(server: TestServer) -> int:
    sql = "SELECT count(*) FROM redactions WHERE applied"
    return int(await server.database.read(lambda txn: txn.value(sql)))


@ensureDeferred
@pytest.mark.parametrize("is_done", [False, True])
async def test_what_a_ban_had_redacted(server: TestServer, other: Scripted, is_done: bool) -> None:
    """It comes back, little at once and much by the task, which may have redacted all before (`is_done`), or be about to."""
    resident, banned = with_banned(other, users={CREATOR: 100, f"@u7:{other.name}": 50})
    kept = resident.name_of(8)
    bob = await enter(server, resident)
    said = [resident.says(kept, "m.room.message", text(f"{n}")).pdu for n in range(AT_ONCE + 50)]
    for start in range(0, len(said), 50):
        await send(server, other, *said[start : start + 50])
    await send(server, other, redacting_ban(resident, banned, kept).pdu)
    assert await count_redacted(server) == AT_ONCE
    if is_done:
        await go_on(server)
        assert await count_redacted(server) == AT_ONCE + 50
    assert isinstance(await fetch_members(server), Done)
    assert isinstance(await go_on(server), Done)
    assert await count_redacted(server) == 0
    page = await server.ok("GET", f"rooms/{path_part(ROOM)}/messages?dir=b&limit=200", token=bob)
    bodies = {one["content"].get("body") for one in page["chunk"] if one["type"] == "m.room.message"}
    assert bodies == {f"{n}" for n in range(AT_ONCE + 50)}
