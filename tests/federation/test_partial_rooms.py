"""Rooms that are entered without most of their members, which come later (server-server API, `omit_members`)."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation import resync
from synapse_lite.federation.peers import PeerError
from synapse_lite.handlers import remote_members
from synapse_lite.rooms.partial import RoomFiller
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import Standing
from synapse_lite.storage.room_servers import all_servers
from synapse_lite.tasks.actions.resync_room import RESYNC_ROOM
from synapse_lite.tasks.outcome import Done, Later
from tests.federation.hall import FEDERATION, ROOM
from tests.federation.network import Network, Scripted
from tests.federation.pair import join_path, members, text
from tests.federation.remote_room import catch_up, remote_room, second_process, send, until
from tests.federation.resident import (
    MANY,
    THIRD,
    enter,
    entered,
    fetch_members,
    partial,
    room_of,
    shown,
    stored,
    with_banned,
)
from tests.federation.sending import Inbox, Sending
from tests.rest.talk import Talk
from tests.server import TestServer, path_part

LAZY = "filter=" + path_part('{"room":{"state":{"lazy_load_members":true}}}')
YEARS = 100 * 365 * 86400.0  # seconds


@ensureDeferred
async def test_a_large_room_is_there_at_once(server: TestServer, other: Scripted) -> None:
    """One sees it, speaks in it and is heard by all its servers; its members come with the task, to every client."""
    _, bob = await entered(server, other)
    assert await partial(server)
    first = await server.ok("GET", f"sync?{LAZY}", token=bob)
    types = {event["type"] for event in first["rooms"]["join"][ROOM]["state"]["events"]}
    assert {"m.room.create", "m.room.power_levels", "m.room.join_rules"} <= types
    sent = await server.ok("PUT", f"rooms/{path_part(ROOM)}/send/m.room.message/1", text("hi"), bob)
    room = await room_of(server)
    assert set(await server.database.read(all_servers, room.nid)) == {server.name, other.name, THIRD}
    assert isinstance(await fetch_members(server), Done)
    assert not await partial(server)
    known = await members(server, ROOM, bob)
    assert len(known) == MANY + 2
    assert set(known.values()) == {"join"}
    after = (await stored(server, sent["event_id"])).after_nid
    whole = await server.database.read(server.core.state.whole, after)
    assert len([key for key in whole if key[0] == "m.room.member"]) == MANY + 2
    later = await server.ok("GET", f"sync?since={first['next_batch']}", token=bob)
    told = later["rooms"]["join"][ROOM]["state"]["events"]
    assert len([one for one in told if one["type"] == "m.room.member"]) >= MANY
    lazy = await server.ok("GET", f"sync?{LAZY}&since={first['next_batch']}", token=bob)
    assert lazy["rooms"]["join"][ROOM]["summary"]["m.joined_member_count"] == MANY + 2
    assert set(await server.database.read(all_servers, room.nid)) == {server.name, other.name}


@ensureDeferred
async def test_a_small_room_is_whole_when_one_is_in_it(server: TestServer, other: Scripted) -> None:
    """Its members are fetched while the user waits; the task finds nothing left to do."""
    _, bob = await entered(server, other, 20)
    assert not await partial(server)
    assert len(await members(server, ROOM, bob)) == 22
    assert await fetch_members(server) == Done({}, done=0)


@ensureDeferred
async def test_who_speaks_meanwhile_is_known(server: TestServer, other: Scripted) -> None:
    """By the auth events of what they say; that their member event comes again with all others changes nothing."""
    resident, bob = await entered(server, other)
    event = resident.says(resident.name_of(5), "m.room.message", text("hello"))
    await send(server, other, event.pdu)
    assert await shown(server, bob) == ["hello"]
    synced = await server.ok("GET", f"sync?{LAZY}", token=bob)
    state = synced["rooms"]["join"][ROOM]["state"]["events"]
    assert resident.name_of(5) in [one["state_key"] for one in state if one["type"] == "m.room.member"]
    assert isinstance(await fetch_members(server), Done)
    assert await shown(server, bob) == ["hello"]
    assert len(await members(server, ROOM, bob)) == MANY + 2


@ensureDeferred
async def test_what_the_whole_state_does_not_allow(server: TestServer, other: Scripted) -> None:
    """Who was banned, which was left out, is heard until it is known; then it is taken back, state events as well."""
    resident, banned = with_banned(other)
    kept = resident.name_of(8)
    bob = await enter(server, resident)
    spam = resident.says(banned, "m.room.message", text("spam"))
    renamed = resident.says(banned, "m.room.member", {"membership": "join", "displayname": "x"}, banned)
    fine = resident.says(kept, "m.room.message", text("fine"))
    moved = resident.says(kept, "m.room.member", {"membership": "join", "displayname": "new"}, kept)
    await send(server, other, spam.pdu, renamed.pdu, fine.pdu, moved.pdu)
    assert await shown(server, bob) == ["spam", "fine"]
    assert isinstance(await fetch_members(server), Done)
    assert await shown(server, bob) == ["fine"]
    for event in (spam, renamed):
        assert (await stored(server, event.event_id)).standing is Standing.REJECTED
    known = await members(server, ROOM, bob)
    assert (known[banned], known[kept]) == ("ban", "join")
    path = f"rooms/{path_part(ROOM)}/state/m.room.member/{path_part(kept)}"
    assert (await server.ok("GET", path, token=bob))["displayname"] == "new"
    await server.ok("PUT", f"rooms/{path_part(ROOM)}/send/m.room.message/1", text("on we go"), bob)
    assert await shown(server, bob) == ["fine", "on we go"]


@ensureDeferred
async def test_a_redaction_that_the_whole_state_does_not_allow(server: TestServer, other: Scripted) -> None:
    """What somebody redacted who was banned, which was left out, is there again."""
    resident, banned = with_banned(other)
    kept = resident.name_of(8)
    bob = await enter(server, resident)
    fine = resident.says(kept, "m.room.message", text("fine"))
    redaction = resident.says(banned, "m.room.redaction", {}, redacts=fine.event_id)
    await send(server, other, fine.pdu, redaction.pdu)
    assert await shown(server, bob) == []
    assert isinstance(await fetch_members(server), Done)
    assert (await stored(server, redaction.event_id)).standing is Standing.REJECTED
    assert await shown(server, bob) == ["fine"]


@ensureDeferred
async def test_other_processes_hear_what_is_taken_back(
    server: TestServer, other: Scripted, database_arguments: dict[str, Any]
) -> None:
    """One that has the event in memory as it was reads it again, and nobody finds it."""
    resident, banned = with_banned(other)
    bob = await enter(server, resident)
    spam = resident.says(banned, "m.room.message", text("spam"))
    await send(server, other, spam.pdu)
    talk = Talk(server, bob, "", f"rooms/{path_part(ROOM)}")
    await talk.index()
    assert await talk.ids("spam") == [spam.event_id]
    async with second_process(server, database_arguments) as second:
        assert (await stored(second, spam.event_id)).standing is Standing.ACCEPTED
        assert isinstance(await fetch_members(server), Done)
        await catch_up(second)
        assert (await stored(second, spam.event_id)).standing is Standing.REJECTED
    await talk.index()
    assert await talk.ids("spam") == []
    assert await server.database.read(lambda txn: txn.value("SELECT count(*) FROM event_search")) == 0


@ensureDeferred
async def test_servers_that_do_not_tell(server: TestServer, other: Scripted) -> None:
    """The room stays as it is, and they are asked again, less and less often; the task says who did not answer."""
    resident, bob = await entered(server, other)
    resident.is_silent = True
    waits = []
    for _ in range(3):
        outcome = await fetch_members(server)
        assert isinstance(outcome, Later)
        waits.append(outcome.seconds)
        assert other.name in outcome.cursor.error  # type: ignore[attr-defined]
    assert waits == [5, 10, 20]
    await server.database.transact(_fail_so_often, 5000)  # half a year
    outcome = await fetch_members(server)
    assert isinstance(outcome, Later)
    assert outcome.seconds == 3600
    await server.ok("PUT", f"rooms/{path_part(ROOM)}/send/m.room.message/1", text("hi"), bob)
    resident.is_silent = False
    assert isinstance(await fetch_members(server), Done)
    assert len(await members(server, ROOM, bob)) == MANY + 2


@ensureDeferred
async def test_what_is_asked_meanwhile(server: TestServer, other: Scripted, network: Network) -> None:
    """We vouch for nobody in it, but give our own events; who asks for the members waits for a while."""
    _, bob = await entered(server, other)
    sent = await server.ok("PUT", f"rooms/{path_part(ROOM)}/send/m.room.message/1", text("hi"), bob)
    third, room, event = network.scripted(THIRD), path_part(ROOM), path_part(sent["event_id"])
    for path in (
        f"make_join/{room}/{path_part('@eve:' + THIRD)}?ver=10",
        f"state/{room}?event_id={event}",
        f"state_ids/{room}?event_id={event}",
    ):
        status, answer = await third.ask(server, "GET", f"{FEDERATION}/v1/{path}")
        assert (status, answer["errcode"]) == (400, "M_UNABLE_DUE_TO_PARTIAL_STATE")
    assert (await third.ask(server, "GET", f"{FEDERATION}/v1/event/{event}"))[0] == 200
    asking = Deferred.fromCoroutine(members(server, ROOM, bob))
    await server.ok("GET", "account/whoami", token=bob)
    assert not asking.called
    assert isinstance(await fetch_members(server), Done)
    await until(server, lambda _: asking.called)  # by which the clock does not move
    assert len(await asking) == MANY + 2


def _is_due(txn: Transaction) -> Any:
    return txn.value("SELECT run_at <= now_ms() FROM scheduled_tasks WHERE action = 'resync_room'")


@ensureDeferred
async def test_the_task_begins_when_there_are_many(server: TestServer, other: Scripted) -> None:
    """It leaves few members to the join itself for a while; of many it need not wait until that is over."""
    server.clock.advance(YEARS)  # beyond that of the database, by which tasks begin
    await entered(server, other)
    await until(server, _is_due)


@ensureDeferred
async def test_a_join_does_not_read_a_long_list(
    server: TestServer, other: Scripted, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the ids of the state: by its length they are too many. The task reads it."""
    monkeypatch.setattr(resync, "FEW", 2 * MANY)
    monkeypatch.setattr(resync, "FEW_BYTES", 10 * MANY, raising=False)
    _, bob = await entered(server, other)
    assert await partial(server)
    assert not [target for _, _, target in network.asked if "/state/" in target]
    assert isinstance(await fetch_members(server), Done)
    assert len(await members(server, ROOM, bob)) == MANY + 2


@ensureDeferred
async def test_a_join_of_a_room_of_many_servers(
    server: TestServer, other: Scripted, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the ids of the state; the task begins at once."""
    monkeypatch.setattr(remote_members, "FEW_SERVERS", 1)
    server.clock.advance(YEARS)  # beyond that of the database, by which tasks begin
    _, bob = await entered(server, other, 3)
    assert await partial(server)
    assert not [target for _, _, target in network.asked if "/state_ids/" in target]
    await until(server, _is_due)
    assert isinstance(await fetch_members(server), Done)
    assert len(await members(server, ROOM, bob)) == 5


@ensureDeferred
async def test_leaving_and_coming_back(server: TestServer, other: Scripted) -> None:
    """Who has left needs no members any more; who comes back gets all of the room with the join."""
    resident, bob = await entered(server, other)
    await server.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob)
    await server.ok("POST", join_path(ROOM), {}, bob)
    assert not await partial(server)
    assert "omit_members" not in resident.other.network.asked[-1][2]
    assert await fetch_members(server) == Done({}, done=0)
    assert len(await members(server, ROOM, bob)) == MANY + 2


@ensureDeferred
async def test_what_is_interrupted_goes_on(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is cut off: each member is filled in once."""
    monkeypatch.setattr(resync, "SLICE", 40)
    _, bob = await entered(server, other)
    names = ("fill_next", "judge_next")
    steps = dict.fromkeys(names, 0)
    originals = {name: getattr(RoomFiller, name) for name in names}

    def failing(name: str) -> Any:
        def step(self: RoomFiller, txn: Transaction, room_nid: int, count: int) -> bool:
            result: bool = originals[name](self, txn, room_nid, count)
            steps[name] += 1
            if steps[name] % 2:
                raise RuntimeError("cut off before the commit")
            return result

        return step

    for name in names:
        monkeypatch.setattr(RoomFiller, name, failing(name))
    for _ in range(50):
        try:
            outcome = await fetch_members(server)
        except RuntimeError:
            await server.database.transact(
                lambda txn: txn.execute("UPDATE scheduled_tasks SET status = 'scheduled', owner = NULL")
            )
            continue
        if isinstance(outcome, Done):
            break
    assert not await partial(server)
    assert len(await members(server, ROOM, bob)) == MANY + 2
    counted = await server.database.read(
        lambda txn: txn.row(
            "SELECT count(*), count(DISTINCT state_key) FROM state_deltas WHERE type = 'm.room.member'"
        )
    )
    assert counted == (MANY + 2, MANY + 2)


@ensureDeferred
async def test_devices_that_change_meanwhile(server: TestServer, other: Scripted) -> None:
    """What the server of a member who is not known yet tells is not lost: with the member comes that their devices may be others."""
    resident, bob = await entered(server, other)
    member = resident.name_of(3)
    since = (await server.ok("GET", "sync", token=bob))["next_batch"]
    update = {"user_id": member, "device_id": "PHONE", "stream_id": 5}
    await send(server, other, edus=[{"edu_type": "m.device_list_update", "content": update}])
    await fetch_members(server)
    assert not await partial(server)
    synced = await server.ok("GET", f"sync?since={since}", token=bob)
    assert member in synced["device_lists"]["changed"]


@ensureDeferred
async def test_leaving_before_the_members_are_known(server: TestServer, other: Scripted) -> None:
    """Whoever is met again elsewhere is asked for their keys, whatever was told before."""
    resident, bob = await entered(server, other)
    asked: list[JsonObject] = []

    def tell(_method: str, _target: str, body: JsonObject | None) -> JsonObject:
        assert body is not None
        asked.append(body["device_keys"])
        return {"device_keys": {}}

    other.scripts[f"{FEDERATION}/v1/user/keys/query"] = tell
    wanted = {"device_keys": {resident.name_of(3): []}}
    for _ in range(2):
        await server.ok("POST", "keys/query", wanted, bob)
    await server.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob)
    update = {"user_id": resident.name_of(3), "device_id": "PHONE", "stream_id": 5}
    await send(server, other, edus=[{"edu_type": "m.device_list_update", "content": update}])
    await server.ok("POST", "keys/query", wanted, bob)
    assert len(asked) == 3


@ensureDeferred
async def test_a_partial_room_holds_up_no_server(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """Who was away gets what was said in it, and in other rooms, before its members are known."""
    inbox, sending = Inbox(network.scripted(THIRD)), Sending(server)
    _, bob = await entered(server, other)
    whole, alice = await remote_room(server, inbox.other)
    await sending.deliver()
    inbox.clear()
    inbox.answers += [PeerError("away")] * 6
    path = f"rooms/{path_part(ROOM)}/send/m.room.message"
    await server.ok("PUT", f"{path}/1", text("first"), bob)
    await sending.deliver()
    for seconds in (5.1, 10.1, 20.1, 40.1, 80.1):
        server.clock.advance(seconds)
        await sending.deliver()
    await server.ok("PUT", f"{path}/2", text("second"), bob)
    other_room = f"rooms/{path_part(whole.room_id)}/send/m.room.message"
    await server.ok("PUT", f"{other_room}/1", text("third"), alice)
    await sending.follow()
    server.clock.advance(160.1)
    await sending.settled()
    assert await partial(server)
    assert inbox.texts[0] == "first"
    assert set(inbox.texts[1:]) == {"second", "third"}


def _fail_so_often(txn: Transaction, failures: int) -> None:
    txn.execute(
        "UPDATE scheduled_tasks SET cursor = jsonb_set(cursor::jsonb, '{failures}', to_jsonb(%s)) WHERE action = %s",
        (failures, RESYNC_ROOM.action),
    )
