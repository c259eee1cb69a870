"""A run of the tests ends when it is interrupted.

Twisted's main loop, in which most tests wait, survives a KeyboardInterrupt. And Python waits at its end for the threads
of pools, which a test that was cut may not have stopped.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

import greenlet

_PATIENCE_SECONDS = 2.0


def interrupt_tests() -> None:
    """From now on an interrupt reaches the test that waits, not the reactor. Called by the greenlet of the tests."""
    tests = greenlet.getcurrent()

    def interrupt(_signal: int, _frame: FrameType | None) -> Any:
        if greenlet.getcurrent() is tests:
            raise KeyboardInterrupt
        tests.throw(KeyboardInterrupt)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def end_in_spite_of_threads(exit_status: int) -> None:
    """The last thing that is done: nobody waits for a thread that does not end by itself."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(_PATIENCE_SECONDS)
            if thread.is_alive():
                sys.stderr.write(f"{thread.name} does not end\n")
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(exit_status)
