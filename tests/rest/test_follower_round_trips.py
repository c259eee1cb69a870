"""How often followers ask the database because of a message, which is no concern of most of them."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.federation.sending.follower import FEDERATION
from synapse_lite.handlers.push.follower import PUSH
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.search import SEARCH, SearchIndex
from synapse_lite.tasks.actions.statistics import STATISTICS, Statistics
from synapse_lite.tasks.actions.user_directory import USER_DIRECTORY, UserDirectory
from synapse_lite.tasks.follower_steps import ClaimedFollower, follow_alone, follow_together
from synapse_lite.tasks.followers import RegisteredFollower, Shard
from tests.server import TestServer

FENCE_AND_CHANGES = 2
RUNNER = "runner#1"
LOOKS = {PUSH.name: 1, FEDERATION.name: 2, USER_DIRECTORY.name: 0, SEARCH.name: 1, STATISTICS.name: 1}
"""Nobody is looked for by no name."""
AT_ONCE = [PUSH.name, FEDERATION.name]
AT_LEISURE = [USER_DIRECTORY.name, SEARCH.name, STATISTICS.name]


@pytest.mark.parametrize("names", [*([name] for name in LOOKS), AT_ONCE, AT_LEISURE, [*LOOKS]], ids="+".join)
@ensureDeferred
async def test_a_message_among_users_of_this_server_without_pushers(
    server: TestServer, names: list[str]
) -> None:
    """However many share a step; that they came so far goes with the COMMIT."""
    alice = await server.user("alice")
    room = await server.room(alice)
    directory = UserDirectory(server.core.events, server.core.config.server_name)
    known = [
        *server.core.extensions.followers,
        RegisteredFollower(USER_DIRECTORY, directory),
        RegisteredFollower(SEARCH, SearchIndex(server.core.events)),
        RegisteredFollower(STATISTICS, Statistics()),
    ]
    followers = await server.database.transact(_claim_all, [one for one in known if one.spec.name in names])
    for one in followers:
        await server.database.transact(follow_alone, one)
    await server.ok("PUT", f"{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}, alice)
    found = await server.database.transact(_round_trips, followers)
    assert found == FENCE_AND_CHANGES + sum(LOOKS[name] for name in names)
    states = await server.database.read(store.read_followers)
    assert {state.lag for state in states if state.name in names} == {0}


def _claim_all(txn: Transaction, known: Iterable[RegisteredFollower]) -> list[ClaimedFollower]:
    store.register_runner(txn, RUNNER, "w", [], 600_000)
    return [_claim(txn, one) for one in known]


def _claim(txn: Transaction, one: RegisteredFollower) -> ClaimedFollower:
    store.register_followers(txn, {(one.spec.name, 0): False})
    lease = store.claim_follower(txn, RUNNER, [(one.spec.name, 0)])
    assert lease is not None
    handler: Any = one.handler
    return ClaimedFollower(lease, one.spec, Shard(0, 1), handler)


def _round_trips(txn: Transaction, followers: Collection[ClaimedFollower]) -> int:
    """Those of a step, without that of its COMMIT."""
    follow_together(txn, followers)
    return txn._sent
