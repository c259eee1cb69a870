"""Application services are asked for users and aliases of theirs that are not there yet, and keep their aliases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers.app_services.calls import MAX_ANSWER_BYTES, TIMEOUT_SECONDS
from synapse_lite.http.client import BodyTooLargeError
from tests.rest.conftest import BuildServer
from tests.rest.registered_services import TOKEN, Service, registered, registration
from tests.rest.test_app_services import EXCLUSIVE, JIM, new
from tests.server import path_part

QUOTED = path_part("#irc_a:hs.test")
UNKNOWN = (404, "M_NOT_FOUND")


@pytest_twisted.async_yield_fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    yield service
    await service.stop()


def alias(name: str) -> str:
    return f"directory/room/{path_part(f'#{name}:hs.test')}"


@ensureDeferred
async def test_aliases_of_a_service(build_server: BuildServer, tmp_path: Path) -> None:
    """It alone makes and deletes them, in rooms that it is not in, too; and no others."""
    free = {"regex": "#loose_.*", "exclusive": False}
    kept = {"regex": "#irc_.*", "exclusive": True}
    server = await build_server(**registered(tmp_path, namespaces={"aliases": [kept, free]}))
    alice = await server.user("alice")
    room = await server.room(alice)
    named = {"room_id": room.removeprefix("rooms/")}
    assert await server.refusal("PUT", alias("irc_a"), named, alice) == EXCLUSIVE
    await server.ok("PUT", alias("irc_a"), named, TOKEN)
    assert await server.refusal("DELETE", alias("irc_a"), None, alice) == EXCLUSIVE
    await server.ok("PUT", alias("other"), named, alice)
    for method in ("PUT", "DELETE"):
        assert await server.refusal(method, alias("other"), named, TOKEN) == EXCLUSIVE
    await server.ok("PUT", alias("loose_a"), named, alice)
    await server.ok("DELETE", alias("loose_a"), None, TOKEN)
    await server.ok("DELETE", alias("irc_a"), None, TOKEN)
    assert await server.refusal("DELETE", alias("irc_a"), None, TOKEN) == UNKNOWN
    body = {"room_alias_name": "irc_b"}
    assert await server.refusal("POST", "createRoom", body, alice) == EXCLUSIVE
    assert await server.refusal("POST", "createRoom", {"room_alias_name": "other2"}, TOKEN) == EXCLUSIVE
    await server.ok("POST", "createRoom", body, TOKEN)


@ensureDeferred
async def test_a_service_makes_a_room_when_it_is_asked(
    build_server: BuildServer, tmp_path: Path, service: Service
) -> None:
    """For who looks an alias up, and for who joins by it; others ask it for no other names."""
    server = await build_server(**registered(tmp_path, url=service.url))
    alice = await server.user("alice")
    assert await server.refusal("GET", f"directory/room/{QUOTED}") == UNKNOWN
    assert service.asked == [f"GET /_matrix/app/v1/rooms/{QUOTED}"]
    assert "\nAuthorization: Bearer hs_irc" in service.heads[0]
    service.makes(
        server,
        f"/_matrix/app/v1/rooms/{QUOTED}",
        "POST",
        "createRoom",
        {"room_alias_name": "irc_a", "preset": "public_chat"},
    )
    joined = await server.ok("POST", f"join/{QUOTED}", {}, alice)
    found = await server.ok("GET", f"directory/room/{QUOTED}")
    assert found["room_id"] == joined["room_id"]
    assert await server.refusal("GET", alias("other")) == UNKNOWN
    assert await server.refusal("GET", "directory/room/%23irc_x:hs.other") != (200, None)
    assert len(service.asked) == 2


@ensureDeferred
async def test_a_service_makes_a_user_when_it_is_asked(
    build_server: BuildServer, tmp_path: Path, service: Service
) -> None:
    """For who looks at a profile, and for who invites; once there it is not asked for any more."""
    server = await build_server(**registered(tmp_path, url=service.url))
    alice = await server.user("alice")
    profile, question = f"profile/{path_part(JIM)}", f"/_matrix/app/v1/users/{path_part(JIM)}"
    assert await server.refusal("GET", profile) == UNKNOWN
    room = await server.room(alice)
    service.makes(server, question, "POST", "register", new("irc_jim", inhibit_login=True))
    await server.ok("POST", f"{room}/invite", {"user_id": JIM}, alice)
    member = await server.ok("GET", f"{room}/state/m.room.member/{path_part(JIM)}", token=alice)
    assert (member["membership"], member["displayname"]) == ("invite", "irc_jim")
    assert (await server.ok("GET", profile))["displayname"] == "irc_jim"
    assert service.asked == [f"GET {question}"] * 2
    ann = "@irc_ann:hs.test"
    await server.ok("POST", "createRoom", {"invite": [ann]}, alice)
    assert service.asked[2:] == [f"GET /_matrix/app/v1/users/{path_part(ann)}"]
    await server.ok("POST", f"{room}/invite", {"user_id": "@other:hs.test"}, alice)
    assert len(service.asked) == 3


@ensureDeferred
async def test_a_service_that_is_silent(build_server: BuildServer, tmp_path: Path, service: Service) -> None:
    """It is asked once for all who ask, and given up in time; then it is as if it knew nothing."""
    server = await build_server(**registered(tmp_path, url=service.url))
    service.says[f"/_matrix/app/v1/rooms/{QUOTED}"] = None
    asking = Deferred.fromCoroutine(server.refusal("GET", f"directory/room/{QUOTED}"))
    await service.was_asked()
    find = server.core.accounts.service_queries.find_alias
    others = [Deferred.fromCoroutine(find("#irc_a:hs.test")) for _ in range(2)]
    server.clock.advance(TIMEOUT_SECONDS)
    assert await asking == UNKNOWN
    assert await gatherResults(others) == [False] * 2
    assert len(service.asked) == 1


@ensureDeferred
async def test_services_that_cannot_be_asked(
    build_server: BuildServer, tmp_path: Path, service: Service
) -> None:
    """One that is away, and one without an address, are no error; who has the name, too, is asked after them."""
    names = {"aliases": [{"regex": "#irc_.*", "exclusive": False}]}
    away = Service()
    await away.stop()
    files = [
        registration(tmp_path, "a", url=away.url, namespaces=names),
        registration(tmp_path, "b", url=None, namespaces=names),
        registration(tmp_path, "c", url=service.url, namespaces=names),
    ]
    server = await build_server(app_service_config_files=files, use_appservice_legacy_authorization=True)
    assert await server.refusal("GET", f"directory/room/{QUOTED}") == UNKNOWN
    assert service.asked == [f"GET /_matrix/app/v1/rooms/{QUOTED}?access_token=hs_c"]


@ensureDeferred
async def test_what_went_wrong_is_told_without_the_token(
    build_server: BuildServer, tmp_path: Path, service: Service
) -> None:
    """It is logged, and kept with what waits for the service."""
    files = registered(tmp_path, url=service.url, hs_token="hs /secret")
    server = await build_server(**files, use_appservice_legacy_authorization=True)
    (irc,) = server.core.accounts.services.all
    service.says["/"] = (200, b"x" * (MAX_ANSWER_BYTES + 1))
    with pytest.raises(BodyTooLargeError, match="is larger than") as raised:
        await server.core.accounts.service_calls.ask(irc, "GET", "/")
    assert "secret" not in str(raised.value)
