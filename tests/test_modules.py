"""Modules are small enough to be read at once."""

from pathlib import Path

import synapse_lite

MAX_LINES = 400


def test_no_module_is_long() -> None:
    """One that grows beyond becomes a package of the same name."""
    root = Path(synapse_lite.__file__).parent
    lines = {str(file.relative_to(root)): file.read_text().count("\n") for file in root.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}
