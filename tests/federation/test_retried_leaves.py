"""Rejections that no server has heard are told again."""

from pytest_twisted import ensureDeferred

from synapse_lite.tasks.actions.retry_leave import MAX_ATTEMPTS, RETRY_LEAVE, RetryLeave
from synapse_lite.tasks.outcome import Done, Fail, Later
from tests.federation.conftest import JoinNetwork
from tests.federation.network import Network
from tests.federation.pair import HOME, members
from tests.federation.tasks import run_pending
from tests.federation.test_invites import invited, room_path
from tests.server import TestServer


async def rejected_unheard(
    server: TestServer, join_network: JoinNetwork, network: Network
) -> tuple[TestServer, str, str, str]:
    """The other server, which could not be reached; its alice, the room, and bob, who is out of it."""
    there, alice, room_id, bob = await invited(server, join_network)
    del network.servers[HOME]
    await server.ok("POST", room_path(room_id, "leave"), {"reason": "no"}, bob)
    return there, alice, room_id, bob


def retry(server: TestServer) -> RetryLeave:
    return RetryLeave(server.database, server.core.federated.handshakes)


@ensureDeferred
async def test_told_when_the_server_is_back(
    server: TestServer, join_network: JoinNetwork, network: Network
) -> None:
    """The task waits longer each time, and ends when the room has heard it."""
    there, alice, room_id, _ = await rejected_unheard(server, join_network, network)
    waits = []
    for _ in range(3):
        outcome = await run_pending(server, RETRY_LEAVE, retry(server))
        assert isinstance(outcome, Later)
        waits.append(outcome.seconds)
    assert waits == [120, 240, 480]
    network.servers[HOME] = there
    assert await run_pending(server, RETRY_LEAVE, retry(server)) == Done({})
    assert (await members(there, room_id, alice))[f"@bob:{server.name}"] == "leave"
    assert await run_pending(server, RETRY_LEAVE, retry(server)) is None


@ensureDeferred
async def test_nothing_is_told_that_is_not_so_any_more(
    server: TestServer, join_network: JoinNetwork, network: Network
) -> None:
    """Who was invited again meanwhile is not led out of it; what the server refuses is not told again."""
    there, alice, room_id, _ = await rejected_unheard(server, join_network, network)
    network.servers[HOME] = there
    bob_id = f"@bob:{server.name}"
    await there.ok("POST", room_path(room_id, "kick"), {"user_id": bob_id}, alice)
    await there.ok("POST", room_path(room_id, "invite"), {"user_id": bob_id}, alice)
    asked = len(network.asked)
    assert await run_pending(server, RETRY_LEAVE, retry(server)) == Done({})
    assert len(network.asked) == asked
    assert (await members(there, room_id, alice))[bob_id] == "invite"


@ensureDeferred
async def test_a_refusal_ends_it(server: TestServer, join_network: JoinNetwork, network: Network) -> None:
    """The room, in which the user is banned by now, hears no leave."""
    there, alice, room_id, _ = await rejected_unheard(server, join_network, network)
    await there.ok("POST", room_path(room_id, "ban"), {"user_id": f"@bob:{server.name}"}, alice)
    network.servers[HOME] = there
    outcome = await run_pending(server, RETRY_LEAVE, retry(server))
    assert isinstance(outcome, Done)
    assert outcome.result is not None
    assert "refused" in outcome.result


@ensureDeferred
async def test_it_ends_when_nobody_ever_answers(
    server: TestServer, join_network: JoinNetwork, network: Network
) -> None:
    """As a failed task, which says who did not answer."""
    await rejected_unheard(server, join_network, network)
    for _ in range(MAX_ATTEMPTS):
        outcome = await run_pending(server, RETRY_LEAVE, retry(server))
    assert isinstance(outcome, Fail)
    assert HOME in outcome.error
