"""What becomes of shadow-banned users: they are told that all is well, and nobody else sees anything of it."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.rest.admin_server import V1, AdminServer
from tests.server import path_part

MALLORY = f"@mallory:{SERVER}"
MESSAGE = {"msgtype": "m.text", "body": "spam"}


async def banned(server: AdminServer) -> str:
    token = await server.user("mallory")
    assert await server.admin("POST", f"{V1}/users/{MALLORY}/shadow_ban") == {}
    return token


async def types_of(server: AdminServer, room: str, token: str) -> list[str]:
    """Of what Mallory has sent into the room."""
    page: Any = await server.ok("GET", f"{room}/messages?dir=f&limit=100", token=token)
    return [event["type"] for event in page["chunk"] if event["sender"] == MALLORY]


@ensureDeferred
async def test_what_they_send_is_seen_by_nobody(server: AdminServer) -> None:
    """Messages, state and redactions get an event id, the same one for the same request, and are not there."""
    alice, mallory = await server.user("alice"), await banned(server)
    room = await server.room(alice)
    await server.ok("POST", f"{room}/join", {}, mallory)
    sent = await server.ok("PUT", f"{room}/send/m.room.message/1", MESSAGE, mallory)
    assert sent["event_id"].startswith("$")
    assert len(sent["event_id"]) == 44
    assert await server.ok("PUT", f"{room}/send/m.room.message/1", MESSAGE, mallory) == sent
    assert await server.ok("PUT", f"{room}/send/m.room.message/2", MESSAGE, mallory) != sent
    await server.ok("PUT", f"{room}/state/org.example/", {"a": 1}, mallory)
    assert await types_of(server, room, alice) == ["m.room.member"]
    assert await server.admin("DELETE", f"{V1}/users/{MALLORY}/shadow_ban") == {}
    await server.ok("PUT", f"{room}/send/m.room.message/3", MESSAGE, mallory)
    assert await types_of(server, room, alice) == ["m.room.member", "m.room.message"]


@ensureDeferred
async def test_whom_they_invite_hears_of_nothing(server: AdminServer) -> None:
    """Neither by an invite nor by a new room; what they do to others does not happen, and they may leave."""
    alice, mallory = await server.user("alice"), await banned(server)
    invites = {"invite": [f"@alice:{SERVER}"]}
    own = await server.room(mallory, **invites)
    await server.ok("POST", f"{own}/invite", {"user_id": f"@alice:{SERVER}"}, mallory)
    await server.ok("POST", f"{own}/ban", {"user_id": f"@alice:{SERVER}"}, mallory)
    memberships = await server.admin("GET", f"{V1}/users/@alice:{SERVER}/memberships")
    assert memberships == {"memberships": {}}
    room = await server.room(alice)
    await server.ok("POST", f"{room}/join", {}, mallory)
    await server.ok("PUT", f"{room}/typing/{MALLORY}", {"typing": True, "timeout": 30_000}, mallory)
    synced: Any = await server.ok("GET", "sync", token=alice)
    (joined,) = synced["rooms"]["join"].values()
    assert [event for event in joined["ephemeral"]["events"] if event["type"] == "m.typing"] == []
    await server.ok("PUT", f"profile/{MALLORY}/displayname", {"displayname": "SPAM"}, mallory)
    members = await server.ok("GET", f"{room}/joined_members", token=alice)
    assert members["joined"][MALLORY].get("display_name") != "SPAM"
    await server.ok("POST", f"{room}/leave", {}, mallory)
    members = await server.ok("GET", f"{room}/joined_members", token=alice)
    assert MALLORY not in members["joined"]


@ensureDeferred
async def test_no_other_server_hears_of_an_invite(server: AdminServer) -> None:
    """It is not even looked for; what they invite there is told as done."""
    mallory = await banned(server)
    room = await server.room(mallory)
    await server.ok("POST", f"{room}/invite", {"user_id": "@far:elsewhere.test"}, mallory)
    path = f"{room}/state/m.room.member/{path_part('@far:elsewhere.test')}"
    assert await server.refusal("GET", path, None, mallory) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_what_else_writes_into_rooms(server: AdminServer) -> None:
    """Their rooms are not replaced, and the canonical alias stays when they delete the alias."""
    alice, mallory = await server.user("alice"), await server.user("mallory")
    room = await server.room(mallory, room_alias_name="tea")
    await server.ok("POST", f"{room}/join", {}, alice)
    await server.admin("POST", f"{V1}/users/{MALLORY}/shadow_ban")
    before = await types_of(server, room, alice)
    made = await server.ok("POST", f"{room}/upgrade", {"new_version": "11"}, mallory)
    assert made["replacement_room"].startswith("!")
    await server.ok("DELETE", f"directory/room/{path_part(f'#tea:{SERVER}')}", None, mallory)
    assert await types_of(server, room, alice) == before
    other = await server.room(alice)
    await server.ok("POST", f"{other}/join", {}, mallory)
    refused = await server.refusal("POST", f"{other}/upgrade", {"new_version": "11"}, mallory)
    assert refused == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_the_public_list_of_rooms_shows_nothing_of_them(server: AdminServer) -> None:
    """Neither a room that they make, nor one that they publish later; one that is in the list stays there."""
    mallory = await server.user("mallory")
    before = await server.room(mallory, name="Tea", visibility="public")
    await server.admin("POST", f"{V1}/users/{MALLORY}/shadow_ban")
    for visibility in ("public", "private"):
        made = await server.room(mallory, name="SPAM", visibility=visibility)
        listing = f"directory/list/room/{path_part(made.removeprefix('rooms/'))}"
        assert await server.ok("PUT", listing, {"visibility": "public"}, mallory) == {}
    listing = f"directory/list/room/{path_part(before.removeprefix('rooms/'))}"
    await server.ok("PUT", listing, {"visibility": "private"}, mallory)
    shown = await server.ok("GET", "publicRooms", token=await server.user("alice"))
    assert [room["name"] for room in shown["chunk"]] == ["Tea"]


@ensureDeferred
async def test_their_devices_speak_to_their_own_only(server: AdminServer) -> None:
    """A message to devices reaches those of its sender, who may verify them, and nobody else's."""
    alice, mallory = await server.user("alice"), await server.user("mallory")
    own = (await server.core.accounts.access_tokens.open(MALLORY)).token
    await server.admin("POST", f"{V1}/users/{MALLORY}/shadow_ban")
    messages = {f"@alice:{SERVER}": {"*": {"spam": 1}}, MALLORY: {"*": {"spam": 2}}}
    await server.ok("PUT", "sendToDevice/org.example/1", {"messages": messages}, mallory)
    synced: Any = await server.ok("GET", "sync", token=alice)
    assert "to_device" not in synced
    assert messages_in(await server.ok("GET", "sync", token=own)) == [{"spam": 2}]
    await server.admin("DELETE", f"{V1}/users/{MALLORY}/shadow_ban")
    await server.ok("PUT", "sendToDevice/org.example/2", {"messages": messages}, mallory)
    later = await server.ok("GET", f"sync?since={synced['next_batch']}", token=alice)
    assert messages_in(later) == [{"spam": 1}]


def messages_in(synced: Any) -> list[Any]:
    return [event["content"] for event in synced["to_device"]["events"]]


@ensureDeferred
async def test_their_words_beside_messages(server: AdminServer) -> None:
    """That they come, knock, go and are there is seen; what they say of it, and a name for one room, is not."""
    alice, mallory = await server.user("alice"), await banned(server)
    room, closed = await server.room(alice), await server.room(alice)
    await server.ok("PUT", f"{closed}/state/m.room.join_rules/", {"join_rule": "knock"}, alice)
    words = {"reason": "spam", "displayname": "spam"}
    for path in (f"{room}/join", f"{room}/join", f"{closed.replace('rooms', 'knock')}", f"{room}/leave"):
        await server.ok("POST", path, words, mallory)
    for where, memberships in ((room, ["join", "leave"]), (closed, ["knock"])):
        page: Any = await server.ok("GET", f"{where}/messages?dir=f&limit=100", token=alice)
        contents = [event["content"] for event in page["chunk"] if event["sender"] == MALLORY]
        assert [content["membership"] for content in contents] == memberships
        assert "spam" not in str(contents)
    await server.ok("POST", f"{room}/join", {}, mallory)
    path = f"presence/{path_part(MALLORY)}/status"
    await server.ok("PUT", path, {"presence": "unavailable", "status_msg": "spam"}, mallory)
    told = await server.ok("GET", path, None, alice)
    assert (told["presence"], told.get("status_msg")) == ("unavailable", None)


@ensureDeferred
async def test_who_can_be_shadow_banned(server: AdminServer) -> None:
    """Users of this server who exist."""
    for method in ("POST", "DELETE"):
        for target, refusal in (
            ("@x:elsewhere.test", (400, "M_UNKNOWN")),
            ("@x:hs.test", (404, "M_NOT_FOUND")),
        ):
            path = f"{V1}/users/{target}/shadow_ban"
            assert await server.refusal(method, path, None, server.token) == refusal
