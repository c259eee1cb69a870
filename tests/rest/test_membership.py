"""Memberships over HTTP."""

from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildServer
from tests.server import TestServer, path_part, user_path

BOB = "@bob:hs.test"
NOT_JOINED = (403, "M_FORBIDDEN")


@ensureDeferred
async def test_the_life_of_a_member(server: TestServer) -> None:
    """Every endpoint does what its name says, with the reason in the member event."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, room_alias_name="den")
    member = f"{room}/state/m.room.member/{path_part(BOB)}"

    async def shown() -> tuple[str, str | None]:
        content = await server.ok("GET", member, token=alice)
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
        answer = await server.ok("POST", f"{room}/{method}", body, token)
        assert answer == ({"room_id": room.removeprefix("rooms/")} if method == "join" else {})
        assert await shown() == expected
    joined = await server.ok("POST", f"join/{path_part('#den:hs.test')}", {"custom": 1}, bob)
    assert joined == {"room_id": room.removeprefix("rooms/")}
    assert (await server.ok("GET", member, token=alice))["custom"] == 1
    assert await server.refusal("POST", f"{room}/forget", {}, bob) == (400, "M_UNKNOWN")
    await server.ok("POST", f"{room}/leave", None, bob)
    assert await server.ok("POST", f"{room}/forget", {}, bob) == {}
    await server.ok("PUT", f"{room}/state/m.room.join_rules", {"join_rule": "knock"}, alice)
    knocked = await server.ok("POST", f"knock/{path_part('#den:hs.test')}", {"reason": "please"}, bob)
    assert knocked == {"room_id": room.removeprefix("rooms/")}
    assert await shown() == ("knock", "please")


@ensureDeferred
async def test_bad_requests(server: TestServer) -> None:
    """Missing and malformed fields, malformed rooms, invites by third-party id."""
    alice = await server.user("alice")
    room = await server.room(alice)
    for method in ("invite", "kick", "ban", "unban"):
        assert await server.refusal("POST", f"{room}/{method}", {}, alice) == (400, "M_MISSING_PARAM")
        assert await server.refusal("POST", f"{room}/{method}", {"user_id": 1}, alice) == (400, "M_BAD_JSON")
        body = {"user_id": "bob"}
        assert await server.refusal("POST", f"{room}/{method}", body, alice) == (400, "M_INVALID_PARAM")
        assert await server.refusal("POST", f"{room}/{method}", {"user_id": BOB}) == (401, "M_MISSING_TOKEN")
    third_party = {"medium": "email", "address": "bob@example.com", "id_server": "x"}
    assert await server.refusal("POST", f"{room}/invite", third_party, alice) == (400, "M_UNRECOGNIZED")
    assert await server.refusal("POST", "rooms/den/join", {}, alice) == (400, "M_UNKNOWN")
    assert await server.refusal("POST", f"rooms/{path_part('#den:hs.test')}/join", {}, alice) == (
        400,
        "M_UNKNOWN",
    )
    assert await server.refusal("POST", f"{room}/leave", {"reason": 1}, alice) == (400, "M_BAD_JSON")
    assert await server.refusal("POST", "join/!none:hs.test", {}, alice) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_who_is_banned(server: TestServer) -> None:
    """Comes in by nothing but an unban, and clients are told by the error code."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/ban", {"user_id": BOB}, alice)
    for path, body, token in (
        (f"{room}/invite", {"user_id": BOB}, alice),
        (f"{room}/kick", {"user_id": BOB}, alice),
        (f"{room}/join", {}, bob),
        (f"knock/{room.removeprefix('rooms/')}", {}, bob),
    ):
        assert await server.refusal("POST", path, body, token) == (403, "M_BAD_STATE"), path
    member = f"{room}/state/m.room.member/{path_part(BOB)}"
    assert await server.refusal("PUT", member, {"membership": "invite"}, alice) == (403, "M_BAD_STATE")
    await server.ok("POST", f"{room}/unban", {"user_id": BOB}, alice)
    await server.ok("POST", f"{room}/join", {}, bob)


@ensureDeferred
async def test_users_of_servers_that_do_not_answer(server: TestServer) -> None:
    """Nobody is invited without their server: 502, and no event. A room that is made with such an invite is there."""
    token = await server.register("ada")
    room_id = (await server.ok("POST", "createRoom", {}, token))["room_id"]
    invite = {"user_id": "@bob:elsewhere.test"}
    assert await server.refusal("POST", f"rooms/{room_id}/invite", invite, token) == (502, "M_UNKNOWN")
    members = await server.ok("GET", f"rooms/{room_id}/members", None, token)
    assert [event["state_key"] for event in members["chunk"]] == [f"@ada:{server.name}"]
    wish = {"invite": ["@bob:elsewhere.test"]}
    assert await server.refusal("POST", "createRoom", wish, token) == (502, "M_UNKNOWN")
    assert len((await server.ok("GET", "joined_rooms", None, token))["joined_rooms"]) == 2


@ensureDeferred
async def test_who_wants_no_invites(server: TestServer) -> None:
    """Not to rooms that there are, nor to new ones, which are not made; what is no wish changes nothing."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice)
    invite, wish = {"user_id": BOB}, user_path("bob", "account_data/m.invite_permission_config")
    blocked = (403, "M_INVITE_BLOCKED")
    await server.ok("PUT", wish, {"default_action": "block"}, bob)
    assert await server.refusal("POST", f"{room}/invite", invite, alice) == blocked
    member = f"{room}/state/m.room.member/{path_part(BOB)}"
    assert await server.refusal("PUT", member, {"membership": "invite"}, alice) == blocked
    assert await server.refusal("POST", "createRoom", {"invite": [BOB]}, alice) == blocked
    assert len((await server.ok("GET", "joined_rooms", None, alice))["joined_rooms"]) == 1
    await server.ok("PUT", wish, {"default_action": ["block"]}, bob)
    await server.ok("POST", f"{room}/invite", invite, alice)


@ensureDeferred
async def test_only_admins_invite(build_server: BuildServer) -> None:
    """`block_non_admin_invites`: by no request; a refused room is not made."""
    server = await build_server(block_non_admin_invites=True)
    admin, alice = await server.user("admin", is_admin=True), await server.user("alice")
    await server.user("bob")
    room = await server.room(alice)
    member = f"{room}/state/m.room.member/{path_part(BOB)}"
    assert await server.refusal("POST", f"{room}/invite", {"user_id": BOB}, alice) == NOT_JOINED
    assert await server.refusal("PUT", member, {"membership": "invite"}, alice) == NOT_JOINED
    assert await server.refusal("POST", "createRoom", {"invite": [BOB]}, alice) == NOT_JOINED
    assert (await server.ok("GET", "joined_rooms", token=alice))["joined_rooms"] == [
        room.removeprefix("rooms/")
    ]
    room = await server.room(admin, invite=[BOB])
    content = await server.ok("GET", f"{room}/state/m.room.member/{path_part(BOB)}", token=admin)
    assert content["membership"] == "invite"
