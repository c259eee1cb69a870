"""Other servers ask for users and aliases of our application services that are not there yet."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest_twisted
from pytest_twisted import ensureDeferred

from tests.federation.conftest import JoinNetwork
from tests.federation.network import Scripted
from tests.federation.test_invite_requests import invite, put
from tests.rest.registered_services import Service, registered
from tests.server import path_part

ALIAS, JIM = "#irc_room:hs.test", "@irc_jim:hs.test"


@pytest_twisted.async_yield_fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    yield service
    await service.stop()


@ensureDeferred
async def test_an_alias_and_an_invite(
    join_network: JoinNetwork, other: Scripted, tmp_path: Path, service: Service
) -> None:
    """The service makes what another server asks for."""
    server = await join_network(**registered(tmp_path, url=service.url))
    directory = f"/_matrix/federation/v1/query/directory?room_alias={quote(ALIAS)}"
    assert (await other.ask(server, "GET", directory))[0] == 404
    question = f"/_matrix/app/v1/rooms/{path_part(ALIAS)}"
    service.makes(server, question, "POST", "createRoom", {"room_alias_name": "irc_room"})
    assert (await other.ask(server, "GET", directory))[0] == 200
    event = invite(other, state_key=JIM)
    assert (await put(server, other, event))[0] == 404
    made = {"type": "m.login.application_service", "username": "irc_jim"}
    service.makes(server, f"/_matrix/app/v1/users/{path_part(JIM)}", "POST", "register", made)
    status, answer = await put(server, other, event)
    assert status == 200, answer
    assert len(service.asked) == 4
