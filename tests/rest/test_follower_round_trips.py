"""How often followers ask the database because of a message, which is no concern of most of them."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.federation.sending.follower import FEDERATION
from synapse_lite.handlers.push.follower import PUSH
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import FollowerLease
from synapse_lite.tasks.actions.user_directory import USER_DIRECTORY, UserDirectory
from synapse_lite.tasks.follower_run import FollowerRun
from synapse_lite.tasks.followers import RegisteredFollower
from synapse_lite.tasks.metrics import TaskMetrics
from synapse_lite.tasks.run import Backoff
from tests.server import TestServer

FENCE_AND_CHANGES = 2
RUNNER = "runner#1"


@ensureDeferred
async def test_a_message_among_users_of_this_server_without_pushers(server: TestServer) -> None:
    """Nobody is looked for by no name, and that the follower came so far goes with the COMMIT."""
    alice = await server.user("alice")
    room = await server.room(alice)
    directory = UserDirectory(server.core.events, server.core.config.server_name)
    known = [*server.core.extensions.followers, RegisteredFollower(USER_DIRECTORY, directory)]
    asked = {PUSH.name: 1, FEDERATION.name: 2, USER_DIRECTORY.name: 0}
    followers = {one.spec.name: one for one in known if one.spec.name in asked}
    leases = await server.database.transact(_claim_all, followers)
    for name, follower in followers.items():
        await _round_trips(server, follower, leases[name])
    await server.ok("PUT", f"{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}, alice)
    found = {name: await _round_trips(server, followers[name], leases[name]) for name in asked}
    assert found == {name: FENCE_AND_CHANGES + count for name, count in asked.items()}
    states = await server.database.read(store.read_followers)
    assert {state.lag for state in states if state.name in asked} == {0}


def _claim_all(txn: Transaction, names: Iterable[str]) -> dict[str, FollowerLease]:
    store.register_runner(txn, RUNNER, "w", [], 600_000)
    keys = [(name, 0) for name in names]
    store.register_followers(txn, keys)
    leases = [store.claim_follower(txn, RUNNER, [key]) for key in keys]
    return {lease.name: lease for lease in leases if lease is not None}


async def _round_trips(server: TestServer, registered: RegisteredFollower, lease: FollowerLease) -> int:
    """Those of a step, without that of its COMMIT."""
    run = FollowerRun(
        lease,
        registered,
        server.database,
        clock=server.core.clock,
        metrics=TaskMetrics(CollectorRegistry()),
        backoff=Backoff(),
        is_current=lambda _: True,
    )

    def step(txn: Transaction) -> int:
        run._follow(txn, registered.handler)
        return txn._sent

    return await server.database.transact(step)
