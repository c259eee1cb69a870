"""What is handed out to other servers, and what became of it."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage import sending
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.outgoing import OutgoingEdu, enqueue
from synapse_lite.storage.sending import Answer, Backoff, Outcome, Sender

SENDER = Sender("me", 60, Backoff(1000, 10_000, 2.0))


@ensureDeferred
async def test_round_trips_of_a_turn(database: Database) -> None:
    """As many for fifty servers as for one, to hand out and to take the answers."""
    trips = {count: await database.transact(_trips, count) for count in (1, 50)}
    assert trips[1] == trips[50]


def _trips(txn: Transaction, count: int) -> tuple[int, int]:
    names = [f"{number}of{count}.test" for number in range(count)]
    enqueue(txn, [], [OutgoingEdu(names, "m.test", {})])
    txn.finish()
    sent = [txn._sent]
    started = sending.turn(txn, SENDER, [], 100, 0, 1000)
    assert sorted(one.server_name for one in started) == sorted(names)
    assert len({one.txn_id for one in started}) == count
    txn.finish()
    sent.append(txn._sent)
    outcomes = [Outcome(one, Answer.TAKEN) for one in started]
    assert sending.turn(txn, SENDER, outcomes, 0, 0, 2000) == []
    txn.finish()
    sent.append(txn._sent)
    assert not txn.rows("SELECT FROM destinations WHERE pending OR txn_id IS NOT NULL")
    return sent[1] - sent[0], sent[2] - sent[1]
