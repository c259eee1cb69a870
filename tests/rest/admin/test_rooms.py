"""Rooms as operators see them: Synapse's keys and types, every order, every filter."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.heads import know_room
from tests.builders import ALICE, SERVER, World
from tests.rest.admin_server import V1, AdminServer
from tests.server import path_part

LISTED: dict[str, tuple[type, ...]] = {
    "room_id": (str,),
    "name": (str, type(None)),
    "canonical_alias": (str, type(None)),
    "joined_members": (int,),
    "joined_local_members": (int,),
    "version": (str,),
    "creator": (str,),
    "encryption": (str, type(None)),
    "federatable": (bool,),
    "public": (bool,),
    "join_rules": (str, type(None)),
    "guest_access": (str, type(None)),
    "history_visibility": (str, type(None)),
    "state_events": (int,),
    "room_type": (str, type(None)),
}
DETAILED = LISTED | {
    "avatar": (str, type(None)),
    "topic": (str, type(None)),
    "joined_local_devices": (int,),
    "forgotten": (bool,),
    "tombstoned": (bool,),
    "replacement_room": (str, type(None)),
}
ORDERS = [name for name in LISTED if name not in {"room_id", "room_type"}] + ["alphabetical", "size"]


def check(room: dict[str, Any], fields: dict[str, tuple[type, ...]]) -> None:
    """The fields, all of them, exactly typed."""
    assert room.keys() == fields.keys()
    assert {name for name, kinds in fields.items() if type(room[name]) not in kinds} == set()


async def three_rooms(server: AdminServer) -> list[str]:
    """Paths: "Alpha", public, old, with an alias, a member more; "beta", encrypted, a space; one without a name."""
    alice, bob = await server.user("alice"), await server.user("bob")
    first = await server.room(
        alice, name="Alpha", room_version="10", visibility="public", room_alias_name="first", topic="All"
    )
    await server.ok("POST", f"{first}/join", {}, bob)
    encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm"}}
    second = await server.room(
        bob,
        name="beta",
        preset="private_chat",
        initial_state=[encryption],
        creation_content={"type": "m.space", "m.federate": False},
    )
    return [first, second, await server.room(alice)]


def names(answer: Any) -> list[str | None]:
    return [room["name"] for room in answer["rooms"]]


@ensureDeferred
async def test_the_list(server: AdminServer) -> None:
    """Fifteen fields, what they say, and the page."""
    await three_rooms(server)
    answer = await server.admin("GET", f"{V1}/rooms")
    assert answer.keys() == {"rooms", "offset", "total_rooms"}
    assert (answer["offset"], answer["total_rooms"]) == (0, 3)
    assert names(answer) == ["Alpha", "beta", None]
    for room in answer["rooms"]:
        check(room, LISTED)
    first, second, _ = answer["rooms"]
    assert first | {"room_id": "", "state_events": 0} == {
        "room_id": "",
        "name": "Alpha",
        "canonical_alias": f"#first:{SERVER}",
        "joined_members": 2,
        "joined_local_members": 2,
        "version": "10",
        "creator": f"@alice:{SERVER}",
        "encryption": None,
        "federatable": True,
        "public": True,
        "join_rules": "public",
        "guest_access": None,
        "history_visibility": "shared",
        "state_events": 0,
        "room_type": None,
    }
    assert (second["encryption"], second["federatable"], second["room_type"]) == (
        "m.megolm",
        False,
        "m.space",
    )


@pytest.mark.parametrize("order", ORDERS)
@ensureDeferred
async def test_every_order_both_ways(server: AdminServer, order: str) -> None:
    """What has a value is sorted by it: counts and versions from the greatest down, the others up."""
    await three_rooms(server)
    field = {"alphabetical": "name", "size": "joined_members"}.get(order, order)
    forwards = await server.admin("GET", f"{V1}/rooms?order_by={order}")
    backwards = await server.admin("GET", f"{V1}/rooms?order_by={order}&dir=b")
    falls = field in {"joined_members", "joined_local_members", "version", "state_events"}
    for answer, descends in ((forwards, falls), (backwards, not falls)):
        values = [room[field] for room in answer["rooms"] if room[field] is not None]
        if field == "version":
            values = list(map(int, values))
        assert values == sorted(values, reverse=descends)
        assert len(answer["rooms"]) == 3


@ensureDeferred
async def test_rooms_that_the_server_has_only_heard_of(server: AdminServer) -> None:
    """As of an invite that nobody has answered: no list has them, in whatever order, and no total counts them."""
    await three_rooms(server)
    version = ROOM_VERSIONS["10"]
    await server.database.transact(know_room, "!heard:of", version, 1)
    for order in ORDERS:
        for query in ("", "&public_rooms=true", "&public_rooms=false", "&search_term=!heard:of"):
            answer = await server.admin("GET", f"{V1}/rooms?order_by={order}{query}")
            assert "!heard:of" not in [room["room_id"] for room in answer["rooms"]], (order, query)
            assert answer["total_rooms"] == len(answer["rooms"]), (order, query)


@ensureDeferred
async def test_pages(server: AdminServer) -> None:
    """Numbers that lead forth and back, without gaps."""
    await three_rooms(server)
    first = await server.admin("GET", f"{V1}/rooms?limit=2")
    assert (names(first), first["next_batch"], "prev_batch" in first) == (["Alpha", "beta"], 2, False)
    second = await server.admin("GET", f"{V1}/rooms?limit=2&from=2")
    assert (names(second), second["prev_batch"], "next_batch" in second) == ([None], 0, False)
    count = await server.admin("GET", f"{V1}/rooms?limit=0")
    assert (count["rooms"], count["total_rooms"]) == ([], 3)


@ensureDeferred
async def test_searches(server: AdminServer) -> None:
    """Part of a name or an alias, whatever the case; a whole room id; and the two filters, together with them."""
    _, second, _ = await three_rooms(server)
    room_id = second.removeprefix("rooms/")
    for query, found in (
        ("search_term=ALPH", ["Alpha"]),
        ("search_term=irs", ["Alpha"]),
        (f"search_term={path_part(room_id)}", ["beta"]),
        (f"search_term={path_part(room_id[:-1])}", []),
        ("search_term=hs.test", []),
        ("search_term=%25", []),
        ("public_rooms=true", ["Alpha"]),
        ("public_rooms=false", ["beta", None]),
        ("search_term=a&public_rooms=false", ["beta"]),
        ("empty_rooms=true", []),
        ("empty_rooms=false", ["Alpha", "beta", None]),
    ):
        assert names(await server.admin("GET", f"{V1}/rooms?{query}")) == found, query
    assert await server.refusal("GET", f"{V1}/rooms?search_term=", None, server.token) == (
        400,
        "M_INVALID_PARAM",
    )
    for wrong in ("order_by=size_of", "dir=up", "from=-1", "limit=x", "public_rooms=1"):
        assert await server.refusal("GET", f"{V1}/rooms?{wrong}", None, server.token) == (
            400,
            "M_INVALID_PARAM",
        )


@ensureDeferred
async def test_details(server: AdminServer) -> None:
    """The fields of the list and six more."""
    first, *_ = await three_rooms(server)
    path = f"{V1}/{first}"
    details = await server.admin("GET", path)
    check(details, DETAILED)
    assert (details["topic"], details["forgotten"], details["tombstoned"]) == ("All", False, False)
    assert details["joined_local_devices"] == 2
    assert await server.refusal("GET", f"{V1}/rooms/!unknown:{SERVER}", None, server.token) == (
        404,
        "M_NOT_FOUND",
    )


@ensureDeferred
async def test_odd_names(server: AdminServer) -> None:
    """A name that is no text, as another server may let through, is none to sort by, and breaks no list."""
    world = World.of(server.core)

    def name_rooms(txn: Transaction) -> None:
        for name in (7, {"a": 1}, None, "fine"):
            room = world.room(txn)
            world.send(txn, room, "m.room.name", ALICE, {"name": name}, state_key="")

    await server.database.transact(name_rooms)
    assert len((await server.admin("GET", f"{V1}/rooms?search_term=fin"))["rooms"]) == 1
    assert set(names(await server.admin("GET", f"{V1}/rooms"))) == {None, "fine"}


@ensureDeferred
async def test_members_and_state(server: AdminServer) -> None:
    """Who is joined, and the current state events, all or of a type, with the old names in them."""
    first, *_ = await three_rooms(server)
    answer = await server.admin("GET", f"{V1}/{first}/members")
    assert answer == {"members": [f"@alice:{SERVER}", f"@bob:{SERVER}"], "total": 2}
    state = (await server.admin("GET", f"{V1}/{first}/state"))["state"]
    assert {name: type(value) for name, value in state[0].items()} == {
        "type": str,
        "state_key": str,
        "content": dict,
        "event_id": str,
        "sender": str,
        "user_id": str,
        "origin_server_ts": int,
        "age": int,
        "room_id": str,
        "unsigned": dict,
    }
    levels = (await server.admin("GET", f"{V1}/{first}/state?type=m.room.power_levels"))["state"]
    assert [event["content"]["users"] for event in levels] == [{f"@alice:{SERVER}": 100}]
    for part in ("members", "state"):
        path = f"{V1}/rooms/!unknown:{SERVER}/{part}"
        assert await server.refusal("GET", path, None, server.token) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_blocking(server: AdminServer) -> None:
    """Known rooms and unknown ones; blocked by whom; nobody joins while it lasts."""
    first, *_ = await three_rooms(server)
    carol = await server.user("carol")
    for path in (f"{V1}/{first}/block", f"{V1}/rooms/!unknown:{SERVER}/block"):
        assert await server.admin("GET", path) == {"block": False}
        assert await server.admin("PUT", path, {"block": True}) == {"block": True}
        assert await server.admin("GET", path) == {"block": True, "user_id": f"@admin:{SERVER}"}
    answer = await server.call("POST", f"{first}/join", {}, carol)
    assert (answer.status, answer.json()) == (
        403,
        {"errcode": "M_FORBIDDEN", "error": "This room has been blocked on this server"},
    )
    assert await server.admin("PUT", f"{V1}/{first}/block", {"block": False}) == {"block": False}
    await server.ok("POST", f"{first}/join", {}, carol)
    for body, errcode in (({}, "M_MISSING_PARAM"), ({"block": 1}, "M_BAD_JSON"), (b"", "M_NOT_JSON")):
        assert await server.refusal("PUT", f"{V1}/{first}/block", body, server.token) == (400, errcode)
    assert await server.refusal("GET", f"{V1}/rooms/nonsense/block", None, server.token) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_forward_extremities(server: AdminServer) -> None:
    """By room id and alias; deleting leaves the newest, on which the next event is built."""
    first, *_ = await three_rooms(server)
    path = f"{V1}/rooms/{path_part(f'#first:{SERVER}')}/forward_extremities"

    def fork(txn: Any) -> None:
        txn.execute(
            "UPDATE rooms r SET extremities = extremities ||"
            " (SELECT min(event_nid) FROM events e WHERE e.room_nid = r.room_nid)"
        )

    await server.steps.do(fork)
    answer = await server.admin("GET", path)
    assert answer["count"] == 2
    assert [{name: type(value) for name, value in one.items()} for one in answer["results"]] == [
        {"event_id": str, "state_group": int, "depth": int, "received_ts": int}
    ] * 2
    newest = max(answer["results"], key=lambda one: one["depth"])
    assert await server.admin("DELETE", path) == {"deleted": 1}
    assert (await server.admin("GET", f"{V1}/{first}/forward_extremities"))["results"] == [newest]
    assert await server.admin("DELETE", path) == {"deleted": 0}
    for name, status in ((f"#unknown:{SERVER}", 404), (f"!unknown:{SERVER}", 404), ("nonsense", 400)):
        wrong = f"{V1}/rooms/{path_part(name)}/forward_extremities"
        assert (await server.refusal("GET", wrong, None, server.token))[0] == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{V1}/rooms"),
        ("GET", f"{V1}/rooms/!r:x"),
        ("GET", f"{V1}/rooms/!r:x/members"),
        ("GET", f"{V1}/rooms/!r:x/state"),
        ("GET", f"{V1}/rooms/!r:x/block"),
        ("PUT", f"{V1}/rooms/!r:x/block"),
        ("GET", f"{V1}/rooms/!r:x/forward_extremities"),
        ("DELETE", f"{V1}/rooms/!r:x/forward_extremities"),
        ("DELETE", f"{V1}/rooms/!r:x"),
        ("DELETE", "/_synapse/admin/v2/rooms/!r:x"),
        ("GET", "/_synapse/admin/v2/rooms/!r:x/delete_status"),
        ("GET", "/_synapse/admin/v2/rooms/delete_status/x"),
        ("POST", f"{V1}/purge_history/!r:x"),
        ("POST", f"{V1}/purge_history/!r:x/$e"),
        ("GET", f"{V1}/purge_history_status/x"),
    ],
)
@ensureDeferred
async def test_for_administrators_only(server: AdminServer, method: str, path: str) -> None:
    """Users are refused, and so is who does not say who they are."""
    alice = await server.user("alice")
    assert await server.refusal(method, path, {}, alice) == (403, "M_FORBIDDEN")
    assert await server.refusal(method, path, {}) == (401, "M_MISSING_TOKEN")
