"""The directory of rooms between servers."""

from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred

from tests.federation.conftest import JoinNetwork
from tests.rest.registered_services import TOKEN, registration
from tests.server import TestServer

PATH = "publicRooms?server=other.hs.test"


async def names(server: TestServer, token: str, body: dict[str, Any]) -> list[str]:
    return [room["name"] for room in (await server.ok("POST", PATH, body, token))["chunk"]]


@ensureDeferred
async def test_the_directory_of_another_server(join_network: JoinNetwork, tmp_path: Path) -> None:
    """Read through one's own server, searched and paged there, without rooms that one could not join; refused unless that one shares it."""
    ours = await join_network()
    files = [registration(tmp_path)]
    theirs = await join_network(
        "other.hs.test", allow_public_rooms_over_federation=True, app_service_config_files=files
    )
    alice, bob = await ours.user("alice"), await theirs.user("bob")
    for name in ("cats", "dogs"):
        await theirs.room(bob, visibility="public", name=name)
    local = {"visibility": "public", "name": "for ourselves", "creation_content": {"m.federate": False}}
    await theirs.room(bob, **local)
    assert sorted(await names(ours, alice, {})) == ["cats", "dogs"]
    assert await names(ours, alice, {"filter": {"generic_search_term": "DOG"}}) == ["dogs"]
    assert await names(ours, alice, {"filter": {"room_types": ["m.space"]}}) == []
    bridged = await theirs.room(bob, preset="public_chat", name="bridged")
    await theirs.ok("PUT", bridged.replace("rooms/", "directory/list/appservice/net/"), {}, TOKEN)
    everything = await names(ours, alice, {"include_all_networks": True})
    assert sorted(everything) == ["bridged", "cats", "dogs"]
    assert await names(ours, alice, {"third_party_instance_id": "irc|net"}) == ["bridged"]
    first = await ours.ok("POST", PATH, {"limit": 1}, alice)
    rest = await names(ours, alice, {"limit": 1, "since": first["next_batch"]})
    assert sorted([first["chunk"][0]["name"], *rest]) == ["cats", "dogs"]
    assert await theirs.refusal("GET", "publicRooms?server=hs.test", token=bob) == (502, "M_UNKNOWN")
