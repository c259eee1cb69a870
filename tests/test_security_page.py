"""docs/security.md and docs/federation.md name tests that exist."""

import ast
import re
from pathlib import Path

import pytest

import tests

ROOT = Path(tests.__file__).parent.parent


@pytest.mark.parametrize("page", ["security.md", "federation.md"])
def test_every_attack_has_its_test(page: str) -> None:
    """Each row names some, and a test that is renamed is renamed there too."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert rows
    assert [
        row for row in rows if "`tests/" not in row and not row.startswith(("| Attack", "| Failure"))
    ] == []
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
