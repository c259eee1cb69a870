"""What servers answer to those who want to join, or send them, to harm them: nothing wrong is signed, kept or believed."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.peers import PeerError
from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.rooms.enter import Entry, RoomEntrance
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import Standing, StoredEvent
from tests.builders import SERVER
from tests.federation.hall import CREATOR, FEDERATION, ROOM, VERSION, Hall
from tests.federation.network import Network, Scripted
from tests.federation.pair import join_path, members
from tests.federation.remote_room import send
from tests.server import TestServer, path_part


async def hall_and_bob(server: TestServer, other: Scripted) -> tuple[Hall, str]:
    hall = Hall(other)
    hall.user = f"@bob:{server.name}"
    return hall, await server.user("bob")


@ensureDeferred
async def test_good_answer(server: TestServer, other: Scripted) -> None:
    """The scripted room can be joined as it stands: what the other tests change is what matters."""
    _, bob = await hall_and_bob(server, other)
    await server.ok("POST", join_path(ROOM), {}, bob)
    assert (await members(server, ROOM, bob)) == {CREATOR: "join", f"@bob:{server.name}": "join"}


@ensureDeferred
async def test_a_join_that_breaks_off(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other server took it, and this one dies before it is stored: nothing half is left, and the next join works."""
    hall, bob = await hall_and_bob(server, other)
    enter = RoomEntrance._enter

    def broken_off(self: RoomEntrance, txn: Transaction, entry: Entry) -> StoredEvent | None:
        enter(self, txn, entry)
        txn.finish()
        raise ConnectionAbortedError("the process is gone before the commit")

    monkeypatch.setattr(RoomEntrance, "_enter", broken_off)
    assert (await server.call("POST", join_path(ROOM), {}, bob)).status == 500
    monkeypatch.undo()
    lost = Event.from_pdu(hall.taken[-1], VERSION)
    for table in ("events", "memberships", "current_state", "state_snapshots", "room_gaps"):
        count = await server.database.read(lambda txn: txn.value(f"SELECT count(*) FROM {table}"))  # noqa: B023
        assert count == 0, table
    assert (await server.ok("GET", "joined_rooms", token=bob))["joined_rooms"] == []
    hall.events.append(lost)  # there the user is in the room
    said = hall.build("m.room.message", {"body": "welcome"}, "")
    await send(server, other, said.pdu)
    await server.ok("POST", join_path(ROOM), {}, bob)
    assert len(hall.taken) == 2
    assert (await members(server, ROOM, bob)) == {CREATOR: "join", hall.user: "join"}
    assert (await server.ok("GET", "joined_rooms", token=bob))["joined_rooms"] == [ROOM]


def other_type(proposal: JsonObject) -> JsonObject:
    return {**proposal, "event": {**proposal["event"], "type": "m.room.power_levels"}}


def other_sender(proposal: JsonObject) -> JsonObject:
    return {**proposal, "event": {**proposal["event"], "sender": "@admin:hs.test"}}


def other_target(proposal: JsonObject) -> JsonObject:
    return {**proposal, "event": {**proposal["event"], "state_key": CREATOR}}


def other_room(proposal: JsonObject) -> JsonObject:
    return {**proposal, "event": {**proposal["event"], "room_id": "!another:hs.test"}}


def other_membership(proposal: JsonObject) -> JsonObject:
    return {**proposal, "event": {**proposal["event"], "content": {"membership": "ban"}}}


def no_previous(proposal: JsonObject) -> JsonObject:
    return {**proposal, "event": {**proposal["event"], "prev_events": []}}


def many_previous(proposal: JsonObject) -> JsonObject:
    return {**proposal, "event": {**proposal["event"], "prev_events": [f"${n}" for n in range(10_000)]}}


def huge_depth(proposal: JsonObject) -> JsonObject:
    return {**proposal, "event": {**proposal["event"], "depth": "deep"}}


def in_our_name(proposal: JsonObject) -> JsonObject:
    content = {"membership": "join", "join_authorised_via_users_server": f"@alice:{SERVER}"}
    return {**proposal, "event": {**proposal["event"], "content": content}}


def unknown_version(proposal: JsonObject) -> JsonObject:
    return {**proposal, "room_version": "org.example.none"}


def no_event(proposal: JsonObject) -> JsonObject:
    return {"room_version": proposal["room_version"]}


@ensureDeferred
@pytest.mark.parametrize(
    "change",
    [other_type, other_sender, other_target, other_room, other_membership, no_previous, many_previous, huge_depth,
     in_our_name, unknown_version, no_event],
)  # fmt: skip
async def test_proposals_that_are_not_signed(
    server: TestServer, other: Scripted, change: Callable[[JsonObject], JsonObject]
) -> None:
    """A proposal for anything else than this join is not signed, and nothing is sent."""
    hall, bob = await hall_and_bob(server, other)
    hall.proposed = change
    assert await server.refusal("POST", join_path(ROOM), {}, bob) == (502, "M_UNKNOWN")
    assert hall.taken == []


@ensureDeferred
async def test_nothing_else_of_a_proposal_is_signed(server: TestServer, other: Scripted) -> None:
    """Further keys, an old time and a foreign name in the proposal do not get into what we sign."""
    hall, bob = await hall_and_bob(server, other)
    hall.proposed = lambda proposal: {
        **proposal,
        "event": {
            **proposal["event"],
            "redacts": "$x",
            "content": {"membership": "join", "displayname": "Fool", "join_authorised_via_users_server": 5},
        },
    }
    assert await server.refusal("POST", join_path(ROOM), {}, bob) == (502, "M_UNKNOWN")
    hall.proposed = lambda proposal: {
        **proposal,
        "event": {
            **proposal["event"],
            "redacts": "$x",
            "content": {"membership": "join", "displayname": "Fool"},
        },
    }
    await server.ok("POST", join_path(ROOM), {"reason": "why not"}, bob)
    (taken,) = hall.taken
    assert taken["content"] == {"membership": "join", "reason": "why not"}
    assert "redacts" not in taken
    assert taken["origin_server_ts"] != 5


def without_create(answer: JsonObject) -> JsonObject:
    return {**answer, "state": answer["state"][1:], "auth_chain": answer["auth_chain"][1:]}


def twice_the_same_key(answer: JsonObject) -> JsonObject:
    return {**answer, "state": [*answer["state"], answer["state"][0]]}


def members_left_out(answer: JsonObject) -> JsonObject:
    return {**answer, "members_omitted": True}


def no_lists(answer: JsonObject) -> JsonObject:
    return {**answer, "state": {}, "auth_chain": None}


@ensureDeferred
@pytest.mark.parametrize("change", [without_create, twice_the_same_key, members_left_out, no_lists])
async def test_states_that_are_not_believed(
    server: TestServer, other: Scripted, change: Callable[[JsonObject], JsonObject]
) -> None:
    """What cannot be the state of a room is not taken; the next try, with a good answer, gets in."""
    hall, bob = await hall_and_bob(server, other)
    hall.answered = change
    assert await server.refusal("POST", join_path(ROOM), {}, bob) == (502, "M_UNKNOWN")
    assert (await server.ok("GET", "joined_rooms", token=bob)) == {"joined_rooms": []}
    hall.answered = lambda answer: answer
    await server.ok("POST", join_path(ROOM), {}, bob)


@ensureDeferred
async def test_forged_state_is_left_out(server: TestServer, other: Scripted, network: Network) -> None:
    """A member with a bad signature, and one whom the rules forbid, are not in the room; the others are."""
    hall, bob = await hall_and_bob(server, other)
    forged = hall.build("m.room.member", {"membership": "join"}, "@eve:other.test", "@eve:other.test")
    forged.pdu["signatures"]["other.test"] = {other.key.key_id: "A" * 86}
    mallory = network.scripted("mallory.test")
    by_key = {one.key: one for one in hall.events}
    unasked = build_event(
        Draft("m.room.power_levels", "@m:mallory.test", {"users": {"@m:mallory.test": 100}}, 9, ""),
        VERSION, ROOM, [hall.events[-1].reference],
        [by_key["m.room.create", ""].reference, by_key["m.room.power_levels", ""].reference], 5, mallory.key,
    )  # fmt: skip

    def answered(answer: JsonObject) -> JsonObject:
        state = [one for one in answer["state"] if one["type"] != "m.room.power_levels"]
        return {**answer, "state": [*state, forged.pdu, unasked.pdu]}

    hall.answered = answered
    await server.ok("POST", join_path(ROOM), {}, bob)
    levels = await server.refusal("GET", f"rooms/{path_part(ROOM)}/state/m.room.power_levels", token=bob)
    assert levels == (404, "M_NOT_FOUND")
    assert (await members(server, ROOM, bob)) == {CREATOR: "join", f"@bob:{server.name}": "join"}


@ensureDeferred
async def test_missing_auth_events(server: TestServer, other: Scripted) -> None:
    """Without the auth events of the join nothing can be said: the user is not let in by guess."""
    hall, bob = await hall_and_bob(server, other)

    def answered(answer: JsonObject) -> JsonObject:
        rest = [one for one in answer["state"] if one["type"] != "m.room.join_rules"]
        return {**answer, "state": rest, "auth_chain": rest}

    hall.answered = answered
    assert await server.refusal("POST", join_path(ROOM), {}, bob) == (502, "M_UNKNOWN")


@ensureDeferred
async def test_first_version_of_the_endpoint(server: TestServer, other: Scripted) -> None:
    """A server of old, which does not know the second version, is asked by the first."""
    hall, bob = await hall_and_bob(server, other)
    other.scripts[f"{FEDERATION}/v1/send_join/"] = other.scripts.pop(f"{FEDERATION}/v2/send_join/")
    await server.ok("POST", join_path(ROOM), {}, bob)
    assert len(hall.taken) == 1


@ensureDeferred
async def test_restricted_room_with_a_forged_permission(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """Who is said to let the user in must have signed, by their server."""
    hall, bob = await hall_and_bob(server, other)
    network.scripted("third.test")
    hall.proposed = lambda proposal: {
        **proposal,
        "event": {
            **proposal["event"],
            "content": {"membership": "join", "join_authorised_via_users_server": "@x:third.test"},
        },
    }
    assert await server.refusal("POST", join_path(ROOM), {}, bob) == (502, "M_UNKNOWN")
    assert (await server.ok("GET", "joined_rooms", token=bob)) == {"joined_rooms": []}


@ensureDeferred
async def test_answers_of_servers_that_cannot_let_in(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """Who cannot authorise is passed over; who forbids, or speaks of a version that we do not know, is the last."""
    hall, bob = await hall_and_bob(server, other)

    def refusing(name: str, status: int, errcode: str) -> None:
        def refuse(*_question: Any) -> JsonObject:
            raise PeerError("no", status, errcode)

        network.scripted(name).scripts[f"{FEDERATION}/v1/make_join/"] = refuse

    refusing("unable.test", 400, "M_UNABLE_TO_AUTHORISE_JOIN")
    refusing("unwilling.test", 403, "M_FORBIDDEN")
    refusing("newer.test", 400, "M_INCOMPATIBLE_ROOM_VERSION")
    refused = await server.refusal("POST", join_path(ROOM, "unwilling.test"), {}, bob)
    assert refused == (403, "M_FORBIDDEN")
    refused = await server.refusal("POST", join_path(ROOM, "newer.test"), {}, bob)
    assert refused == (400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert hall.taken == []
    unknown = f"join/{path_part('!' + 'x' * 43)}?via=unable.test"
    assert await server.refusal("POST", unknown, {}, bob) == (400, "M_UNABLE_TO_AUTHORISE_JOIN")
    await server.ok("POST", join_path(ROOM, "unable.test"), {}, bob)


@ensureDeferred
async def test_what_branches_off_before_the_join(server: TestServer, other: Scripted) -> None:
    """What was said there meanwhile follows what this server never had: it arrives, and history down to the create event stays history."""
    hall, bob = await hall_and_bob(server, other)
    await server.ok("POST", join_path(ROOM), {}, bob)
    said = [hall.build("m.room.message", {"body": "meanwhile"}, "")]
    answer = {"events": [one.pdu for one in hall.events]}
    state = [one.event_id for one in hall.events]
    other.scripts[f"{FEDERATION}/v1/get_missing_events/"] = lambda *_: answer
    other.scripts[f"{FEDERATION}/v1/state_ids/"] = lambda *_: {"pdu_ids": state, "auth_chain_ids": state}
    await send(server, other, said[0].pdu)
    page = await server.ok("GET", f"rooms/{path_part(ROOM)}/messages?dir=b&limit=2", token=bob)
    assert [event["content"].get("body") for event in page["chunk"]] == ["meanwhile", None]
    assert page["chunk"][1]["state_key"] == hall.user
    assert (await members(server, ROOM, bob)) == {CREATOR: "join", hall.user: "join"}


@ensureDeferred
async def test_a_gap_below_what_the_join_follows(server: TestServer, other: Scripted) -> None:
    """That is a soft-failed event, which is known; what is not known below it is on record: nothing else leads there."""
    hall, bob = await hall_and_bob(server, other)
    dave = "@dave:other.test"
    hall.add("m.room.member", {"membership": "join"}, dave, dave)
    await server.ok("POST", join_path(ROOM), {}, bob)
    hall.events.append(Event.from_pdu(hall.taken[-1], VERSION))
    state = [one.event_id for one in hall.events]
    lost, found, said = (hall.add("m.room.message", {"body": text}, None, dave) for text in "abc")
    del hall.events[-3:]
    ban = hall.add("m.room.member", {"membership": "ban"}, dave)
    other.scripts[f"{FEDERATION}/v1/get_missing_events/"] = lambda *_: {"events": [found.pdu]}
    other.scripts[f"{FEDERATION}/v1/state_ids/"] = lambda *_: {"pdu_ids": state, "auth_chain_ids": state}
    await send(server, other, ban.pdu, said.pdu)
    assert await standing(server, said) is Standing.SOFT_FAILED
    await server.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob)
    hall.proposed = lambda made: {**made, "event": {**made["event"], "prev_events": [said.event_id]}}
    await server.ok("POST", join_path(ROOM), {}, bob)
    gaps = await server.database.read(lambda txn: txn.rows("SELECT missing_event_id FROM room_gaps"))
    assert (lost.event_id,) in gaps


async def standing(server: TestServer, event: Event) -> Standing:
    found = await server.database.read(server.core.events.by_ids, [event.event_id])
    return found[event.event_id].standing


@ensureDeferred
async def test_a_state_that_forbids_the_join(server: TestServer, other: Scripted) -> None:
    """Though the auth events that the other server proposed for it say nothing of a ban."""
    hall, bob = await hall_and_bob(server, other)
    hall.add("m.room.member", {"membership": "ban"}, hall.user)
    assert await server.refusal("POST", join_path(ROOM), {}, bob) == (403, "M_FORBIDDEN")
    assert (await server.ok("GET", "joined_rooms", token=bob))["joined_rooms"] == []
