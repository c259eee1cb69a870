"""Modules are small enough to be read at once."""

from collections.abc import Iterator
from pathlib import Path

import benchmarks
import synapse_lite
import tests

MAX_LINES = 400


def test_no_module_is_long() -> None:
    """One that grows beyond becomes several by subject, or a package of the same name."""
    lines = {str(file): file.read_text().count("\n") for file in _modules()}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def _modules() -> Iterator[Path]:
    for package in (synapse_lite, tests, benchmarks):
        yield from Path(*package.__path__).rglob("*.py")
