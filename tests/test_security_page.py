"""docs/security.md names tests that exist."""

import ast
import re
from pathlib import Path

import tests

ROOT = Path(tests.__file__).parent.parent


def test_every_attack_has_its_test() -> None:
    """Each row names some, and a test that is renamed is renamed there too."""
    lines = (ROOT / "docs" / "security.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert rows
    assert [row for row in rows if "`tests/" not in row and not row.startswith("| Attack")] == []
    missing = []
    for row in rows:
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row):
            module = ast.parse((ROOT / file).read_text())
            functions = {
                one.name for one in module.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            if name not in functions:
                missing.append(f"{file}::{name}")
    assert missing == []
