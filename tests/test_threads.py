import threading
from contextvars import ContextVar

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, DeferredList

from synapse_lite.threads import Threads

SECONDS = 60


@pytest.fixture
def threads():
    threads = Threads(reactor, 2, "test")
    yield threads
    threads.stop()


@ensureDeferred
async def test_what_a_function_returns_or_raises_comes_back(threads: Threads) -> None:
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)
    assert await threads.run(threading.current_thread) is not threading.current_thread()


@ensureDeferred
async def test_one_thread_is_enough_for_what_comes_one_after_the_other(threads: Threads) -> None:
    used = {await threads.run(threading.get_ident) for _ in range(100)}
    assert len(used) == 1


@ensureDeferred
async def test_so_many_run_at_once_and_no_more(threads: Threads) -> None:
    both = threading.Barrier(2)
    lock = threading.Lock()
    running, most = 0, 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(SECONDS)
        with lock:
            running -= 1

    results = await DeferredList([threads.run(work) for _ in range(20)])
    assert all(ok for ok, _ in results)
    assert most == 2


@ensureDeferred
async def test_work_that_waits_is_done_in_its_order_also_while_it_stops(threads: Threads) -> None:
    may_go, done = threading.Event(), []
    for _ in range(2):
        threads.begin(may_go.wait, SECONDS)
    for number in range(10):
        threads.begin(done.append, number)
    assert not done
    may_go.set()
    threads.stop()
    assert sorted(done) == list(range(10))
    threads.begin(done.append, 10)
    assert 10 not in done


@ensureDeferred
async def test_who_stops_waiting_does_not_stop_the_work(threads: Threads) -> None:
    may_go = threading.Event()
    waiting = threads.run(may_go.wait, SECONDS)
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    may_go.set()
    assert await threads.run(divmod, 7, 2) == (3, 1)


@ensureDeferred
async def test_an_error_that_nobody_waits_for_is_logged_and_ends_no_thread(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    threads.begin(divmod, 7, 0)
    assert await threads.run(divmod, 7, 2) == (3, 1)
    threads.stop()
    assert "ZeroDivisionError" in caplog.text


@ensureDeferred
async def test_a_thread_sees_the_context_of_who_asks(threads: Threads) -> None:
    word: ContextVar[str] = ContextVar("word", default="none")
    token = word.set("mine")
    try:
        assert await threads.run(word.get) == "mine"
    finally:
        word.reset(token)
    assert await threads.run(word.get) == "none"
