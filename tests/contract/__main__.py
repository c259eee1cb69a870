"""Run the tests of the HTTP API, and write down which of them calls which operation: `make contract`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.contract import table
from tests.contract.checking import CALLS_FILE

TESTS = ("tests/rest", "tests/federation")
EVERYTHING = ("tests/rest/test_fuzz.py", "tests/rest/test_access.py")
"""They call every operation there is, and look at none."""


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        calls = Path(directory, "calls")
        command = [sys.executable, "-m", "pytest", "-q", *TESTS]
        command += [f"--ignore={one}" for one in EVERYTHING] + sys.argv[1:]
        done = subprocess.run(command, env={**os.environ, CALLS_FILE: str(calls)}, check=False)
        lines = [line.split("\t") for line in calls.read_text().splitlines()]
    table.write(table.choose((test, operation) for test, operation in lines))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
