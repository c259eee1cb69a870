"""Members of a room that was joined whose servers' keys cannot be had at that moment."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.federation.fetching import SINGLE_EVENTS
from synapse_lite.federation.keyring import PATIENCE_SECONDS, RETRY_SECONDS
from synapse_lite.tasks.outcome import Done, Later
from tests.federation.hall import CREATOR, FEDERATION, ROOM
from tests.federation.network import Network, Scripted
from tests.federation.pair import join_path, members
from tests.federation.resident import (
    MANY,
    THIRD,
    Resident,
    entered,
    fetch_members,
    partial,
)
from tests.server import TestServer, path_part

SOME = 10
"""Of so many members one is invited: more than may be missing."""


@ensureDeferred
@pytest.mark.parametrize("is_back", [True, False])
async def test_members_whose_server_is_away(
    server: TestServer, other: Scripted, network: Network, is_back: bool
) -> None:
    """The task comes back when their keys may be there, since who is left out of the state would be for ever; not for long."""
    resident, bob = await entered(server, other)
    third, ann = network.scripted(THIRD), f"@ann:{THIRD}"
    resident.member(ann, "join", key=third.key)
    del network.servers[THIRD]
    assert isinstance(await fetch_members(server), Later)
    assert await partial(server)
    if is_back:
        network.servers[THIRD] = third
    server.clock.advance(RETRY_SECONDS + 1 if is_back else PATIENCE_SECONDS + 1)
    assert isinstance(await fetch_members(server), Done)
    assert (ann in await members(server, ROOM, bob)) is is_back
    assert len([target for _, _, target in network.asked if "/state/" in target]) == 1


@ensureDeferred
async def test_a_member_of_a_whole_state_whose_server_is_away(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """A server that leaves nobody out tells of somebody whose keys cannot be had: the user is in at once, who is missing comes later."""
    resident = Resident(other, 3)
    resident.user, bob = f"@bob:{server.name}", await server.user("bob")
    other.scripts[f"{FEDERATION}/v2/send_join/"] = lambda method, target, body: resident.send(
        method, target.partition("?")[0], body
    )
    third, ann = network.scripted(THIRD), f"@ann:{THIRD}"
    resident.member(ann, "join", key=third.key)
    del network.servers[THIRD]
    await server.ok("POST", join_path(ROOM), {}, bob)
    assert await partial(server)
    network.servers[THIRD] = third
    server.clock.advance(RETRY_SECONDS + 1)
    assert isinstance(await fetch_members(server), Done)
    assert (await members(server, ROOM, bob))[ann] == "join"


@ensureDeferred
async def test_coming_back_while_a_server_is_away(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """Who enters a room of which an old state is known gets all of it, too: who cannot be verified comes later, as it is by then."""
    third, ann, ben = network.scripted(THIRD), f"@ann:{THIRD}", f"@ben:{THIRD}"
    resident, bob = await entered(server, other, 3)
    resident.member(ann, "join", key=third.key)
    await server.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob)
    await server.ok("POST", join_path(ROOM), {}, bob)
    assert (await members(server, ROOM, bob))[ann] == "join"
    await server.ok("POST", f"rooms/{path_part(ROOM)}/leave", {}, bob)
    resident.member(ann, "leave", key=third.key)
    resident.member(ben, "join", key=third.key)
    await server.database.transact(
        lambda txn: txn.execute("DELETE FROM server_keys WHERE server_name = %s", (THIRD,))
    )
    del network.servers[THIRD]
    server.clock.advance(1)
    await server.ok("POST", join_path(ROOM), {}, bob)
    assert await partial(server)
    network.servers[THIRD] = third
    server.clock.advance(RETRY_SECONDS + 1)
    assert isinstance(await fetch_members(server), Done)
    known = await members(server, ROOM, bob)
    assert (known.get(ann), known.get(ben)) == ("leave", "join")
    assert len(known) == 7


@ensureDeferred
@pytest.mark.parametrize("is_back", [True, False])
async def test_many_members_whose_server_is_away(
    server: TestServer, other: Scripted, network: Network, is_back: bool
) -> None:
    """While their keys are away, the state is not fetched again for each attempt: twice is all."""
    resident, bob = await entered(server, other)
    third = network.scripted(THIRD)
    for number in range(SINGLE_EVENTS + 1):
        resident.member(f"@u{number}:{THIRD}", "join", key=third.key)
    del network.servers[THIRD]
    waits = 0
    while isinstance(outcome := await fetch_members(server), Later):
        waits += 1
        assert await partial(server)
        server.clock.advance(outcome.seconds + 1)
        if is_back and waits == 2:
            network.servers[THIRD] = third
    assert waits >= 2
    assert len([target for _, _, target in network.asked if "/state/" in target]) == 2
    assert (f"@u0:{THIRD}" in await members(server, ROOM, bob)) is is_back


@ensureDeferred
async def test_a_state_without_what_it_leans_on(server: TestServer, other: Scripted) -> None:
    """It is no reason to leave anybody out: the server is asked again."""
    resident, bob = await entered(server, other)
    names = [f"@invited{number}:{other.name}" for number in range(MANY // SOME)]
    for name in names:
        resident.member(name, "invite", CREATOR)
        resident.member(name, "join")
    tell = resident.state
    other.scripts[f"{FEDERATION}/v1/state/"] = lambda *question: {**tell(*question), "auth_chain": []}
    assert isinstance(await fetch_members(server), Later)
    assert await partial(server)
    other.scripts[f"{FEDERATION}/v1/state/"] = tell
    server.clock.advance(RETRY_SECONDS + 1)
    assert isinstance(await fetch_members(server), Done)
    known = await members(server, ROOM, bob)
    assert {known.get(name) for name in names} == {"join"}
