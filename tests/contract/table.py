"""Which test calls which operation: `docs/contract.md`."""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import tests
from tests.contract.checking import REFUSED

ROOT = Path(tests.__file__).parent.parent
PAGE = ROOT / "docs" / "contract.md"
_HEAD = """# Contract

The operations of the client-server API that have a route here, each with a test that calls it and gets an answer as the specification (v1.19) says. In every
test of the HTTP API all answers are compared with it (`tests/contract`). `make contract` runs the tests and writes this page; a test that does not call what it is named for fails.

| Operation | Test |
|---|---|
"""


@cache
def read() -> Mapping[str, str]:
    """The id of the test by operation."""
    rows = [line.split("`") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return {row[1]: row[3] for row in rows}


def promised(test_id: str) -> set[str]:
    """What the test is named for."""
    return {operation for operation, named in read().items() if named == base(test_id)}


def choose(calls: Iterable[tuple[str, str]]) -> dict[str, str]:
    """For each operation, of the tests (id, operation) that call it, the one that calls the fewest others.

    Rather one that succeeds; one with parameters calls what it calls with all of them.
    """
    by_run: dict[str, set[str]] = {}
    for test_id, operation in calls:
        by_run.setdefault(test_id, set()).add(operation)
    by_test: dict[str, set[str]] = {}
    for run, called in by_run.items():
        test_id = base(run)
        by_test[test_id] = by_test[test_id] & called if test_id in by_test else called
    candidates = sorted(
        (operation.lstrip(REFUSED), operation[0] == REFUSED, len(called), test_id)
        for test_id, called in by_test.items()
        for operation in called
        if operation
    )
    return {operation: test_id for operation, _, _, test_id in reversed(candidates)}


def base(test_id: str) -> str:
    """Without parameters."""
    return test_id.partition("[")[0]


def write(chosen: Mapping[str, str]) -> None:
    """The page."""
    rows = (f"| `{operation}` | `{test}` |\n" for operation, test in sorted(chosen.items()))
    PAGE.write_text(_HEAD + "".join(rows))
