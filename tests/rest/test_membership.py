"""Memberships over HTTP."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database
from tests.rest.rooms_home import RoomsHome, path_part

BOB = "@bob:hs.test"
NOT_JOINED = (403, "M_FORBIDDEN")


@ensureDeferred
async def test_the_life_of_a_member(database: Database) -> None:
    """Every endpoint does what its name says, with the reason in the member event."""
    home = RoomsHome(database)
    alice, bob = await home.user("alice"), await home.user("bob")
    room = await home.room(alice, room_alias_name="den")
    member = f"{room}/state/m.room.member/{path_part(BOB)}"

    async def shown() -> tuple[str, str | None]:
        content = await home.ok("GET", member, token=alice)
        return content["membership"], content.get("reason")

    about_bob = {"user_id": BOB, "reason": "because"}
    for method, token, body, expected in (
        ("invite", alice, about_bob, ("invite", "because")),
        ("leave", bob, {"reason": "no"}, ("leave", "no")),
        ("join", bob, {"reason": "well"}, ("join", "well")),
        ("kick", alice, about_bob, ("leave", "because")),
        ("join", bob, None, ("join", None)),
        ("ban", alice, {"user_id": BOB}, ("ban", None)),
        ("unban", alice, about_bob, ("leave", "because")),
    ):
        answer = await home.ok("POST", f"{room}/{method}", body, token)
        assert answer == ({"room_id": room.removeprefix("rooms/")} if method == "join" else {})
        assert await shown() == expected
    joined = await home.ok("POST", f"join/{path_part('#den:hs.test')}", {"custom": 1}, bob)
    assert joined == {"room_id": room.removeprefix("rooms/")}
    assert (await home.ok("GET", member, token=alice))["custom"] == 1
    assert await home.refusal("POST", f"{room}/forget", {}, bob) == (400, "M_UNKNOWN")
    await home.ok("POST", f"{room}/leave", None, bob)
    assert await home.ok("POST", f"{room}/forget", {}, bob) == {}
    await home.ok("PUT", f"{room}/state/m.room.join_rules", {"join_rule": "knock"}, alice)
    knocked = await home.ok("POST", f"knock/{path_part('#den:hs.test')}", {"reason": "please"}, bob)
    assert knocked == {"room_id": room.removeprefix("rooms/")}
    assert await shown() == ("knock", "please")


@ensureDeferred
async def test_bad_requests(database: Database) -> None:
    """Missing and malformed fields, malformed rooms, invites by third-party id."""
    home = RoomsHome(database)
    alice = await home.user("alice")
    room = await home.room(alice)
    for method in ("invite", "kick", "ban", "unban"):
        assert await home.refusal("POST", f"{room}/{method}", {}, alice) == (400, "M_MISSING_PARAM")
        assert await home.refusal("POST", f"{room}/{method}", {"user_id": 1}, alice) == (400, "M_BAD_JSON")
        body = {"user_id": "bob"}
        assert await home.refusal("POST", f"{room}/{method}", body, alice) == (400, "M_INVALID_PARAM")
        assert await home.refusal("POST", f"{room}/{method}", {"user_id": BOB}) == (401, "M_MISSING_TOKEN")
    third_party = {"medium": "email", "address": "bob@example.com", "id_server": "x"}
    assert await home.refusal("POST", f"{room}/invite", third_party, alice) == (400, "M_UNRECOGNIZED")
    assert await home.refusal("POST", "rooms/den/join", {}, alice) == (400, "M_UNKNOWN")
    assert await home.refusal("POST", f"rooms/{path_part('#den:hs.test')}/join", {}, alice) == (
        400,
        "M_UNKNOWN",
    )
    assert await home.refusal("POST", f"{room}/leave", {"reason": 1}, alice) == (400, "M_BAD_JSON")
    assert await home.refusal("POST", "join/!none:hs.test", {}, alice) == (404, "M_NOT_FOUND")
