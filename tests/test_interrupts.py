"""A run of the tests that is interrupted ends."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN = """
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started us may have ignored it
sys.exit(pytest.main(sys.argv[1:]))
"""
TESTS = {
    "a test that waits": """
@ensureDeferred
async def test_waits(database):
    await database.read(lambda txn: txn.value("SELECT 1"))
    print("\\nwaiting", flush=True)
    await Deferred()
""",
    "a pool that nobody stops": """
@ensureDeferred
async def test_waits(database_arguments):
    pool = ThreadPool(minthreads=1)
    pool.start()
    print("\\nwaiting", flush=True)
    await Deferred()
""",
}
IMPORTS = """
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool
"""


@pytest.mark.parametrize("name", TESTS)
def test_an_interrupt_ends_the_run(tmp_path: Path, name: str) -> None:
    """While a test waits in the reactor, and whatever threads are left."""
    file = tmp_path / "test_waiting.py"
    file.write_text(IMPORTS + TESTS[name])
    options = [
        "-s",
        "-p",
        "tests.conftest",
        "-c",
        "pyproject.toml",
        f"--rootdir={ROOT}",
        "-p",
        "no:cacheprovider",
    ]
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, *options, str(file)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert run.stdout is not None
        said = next(line for line in run.stdout if line in {"waiting\n", ""})
        run.send_signal(signal.SIGINT)
        shown, _ = run.communicate(timeout=300)
        assert (said, run.returncode) == ("waiting\n", pytest.ExitCode.INTERRUPTED), shown
    finally:
        run.kill()
        run.wait()
