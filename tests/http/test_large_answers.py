"""How many large answers there are at a time."""

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.errors import MatrixError
from synapse_lite.http.access import Access
from synapse_lite.http.large_answers import AT_ONCE, MAX_WAITING, OF_ONE, WAIT_SECONDS, LargeAnswers
from synapse_lite.http.router import Route
from synapse_lite.http.sending import PIECE_BYTES, SEND_GRACE_SECONDS
from tests.http.memory import Connection, ManualClock, site


def acquire(answers, who):
    return Deferred.fromCoroutine(answers.acquire(who))


def ended(waiting):
    """The error that a wait has ended with."""
    errors = []
    waiting.addErrback(lambda failure: errors.append(failure.value))
    return errors[0]


def test_one_more_than_the_limit_waits_for_a_place():
    """First come, first served."""
    answers = LargeAnswers(ManualClock())
    assert all(acquire(answers, who).called for who in range(AT_ONCE))
    later = [acquire(answers, f"later {number}") for number in range(2)]
    assert [waiting.called for waiting in later] == [False, False]
    answers.release(0)
    assert [waiting.called for waiting in later] == [True, False]


def test_nobody_takes_all_places():
    """Who has their share waits, while others pass."""
    answers = LargeAnswers(ManualClock())
    assert all(acquire(answers, "greedy").called for _ in range(OF_ONE))
    third = acquire(answers, "greedy")
    assert not third.called
    assert acquire(answers, "other").called
    answers.release("greedy")
    assert third.called


def test_waiting_has_an_end():
    """After it, the client is told when to come again; its place in the queue is free."""
    clock = ManualClock()
    answers = LargeAnswers(clock)
    for who in range(AT_ONCE):
        acquire(answers, who)
    late = acquire(answers, "late")
    clock.advance(WAIT_SECONDS)
    error = ended(late)
    assert isinstance(error, MatrixError)
    assert (error.status, error.errcode) == (429, "M_LIMIT_EXCEEDED")
    answers.release(0)
    assert acquire(answers, "next").called
    assert clock.reactor.getDelayedCalls() == []


def test_a_client_that_goes_away_leaves_the_queue():
    """Its turn goes to the next one."""
    answers = LargeAnswers(ManualClock())
    for who in range(AT_ONCE):
        acquire(answers, who)
    gone, following = acquire(answers, "gone"), acquire(answers, "next")
    gone.cancel()
    assert isinstance(ended(gone), CancelledError)
    answers.release(0)
    assert following.called


@ensureDeferred
async def test_the_queue_is_bounded():
    """Beyond it the answer is 429 at once."""
    answers = LargeAnswers(ManualClock())
    for who in range(AT_ONCE + MAX_WAITING):
        acquire(answers, who)
    with pytest.raises(MatrixError):
        await answers.acquire("one more")


def test_a_place_is_taken_until_the_client_has_its_answer():
    """Also when it takes the answer slowly; who stops taking it is cut off."""

    async def handler(request):
        await request.expect_large_answer()
        return {"x": "x" * 4 * PIECE_BYTES}

    clock = ManualClock()
    server = site([Route("GET", "/x", handler, Access.NONE)], clock=clock)
    slow = [Connection(server) for _ in range(OF_ONE)]
    for connection in slow:
        connection.transport.on_write = connection._protocol.pauseProducing
        connection.request("GET", "/x")
    waiting = Connection(server)
    waiting.request("GET", "/x")
    assert waiting.transport.value() == b""
    clock.advance(WAIT_SECONDS / 2)
    slow[0].lose()
    assert waiting.transport.value().startswith(b"HTTP/1.1 200 ")
    clock.advance(SEND_GRACE_SECONDS)
    assert slow[1].transport.disconnecting
