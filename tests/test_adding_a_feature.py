"""What docs/adding-a-feature.md says is applied to a copy of the source, and works."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/adding-a-feature.md"
BLOCK = re.compile(r"^```(\w+)\n(?:#|--) (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SECONDS = 1000
CHECKED = (
    "tests/rest/test_message_counts.py",
    "tests/rest/test_access.py::test_every_route_knows_its_callers[guest]",
)


@frozen
class Block:
    language: str
    path: str
    text: str

    def apply(self, copy: Path) -> None:
        """Make the file, or add lines below the one that is shown, which must be there once."""
        file = copy / self.path
        if self.language != "diff":
            assert not file.exists(), f"{self.path} is there already"
            file.write_text(self.text)
            return
        context, *added = self.text.splitlines()
        assert all(line.startswith("+") for line in added)
        lines = file.read_text().splitlines()
        [place] = [index for index, line in enumerate(lines) if line.rstrip() == context[1:].rstrip()]
        lines[place + 1 : place + 1] = [line[1:] for line in added]
        file.write_text("\n".join(lines) + "\n")


def blocks() -> list[Block]:
    return [Block(*match.groups()) for match in BLOCK.finditer(PAGE.read_text())]


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """The source and its tests, with what the page adds."""
    ignored = shutil.ignore_patterns("__pycache__", "node_modules", "interop", "browser")
    for name in ("synapse_lite", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "contract.md", tmp_path / "docs")
    for block in blocks():
        block.apply(tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path)


def run(copy: Path, *command: str) -> str:
    """What it prints; it must succeed."""
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_page_is_read_whole() -> None:
    """No block of code is without its file."""
    assert PAGE.read_text().count("\n```") == 2 * len(blocks())
    assert len(blocks()) > 10


def test_the_example_works(copy: Path) -> None:
    """Its own test passes, and the access table knows its route; it is in the style of the house."""
    own = [block.path for block in blocks() if block.path.endswith(".py")]
    run(copy, "ruff", "check", "--no-cache", *sorted(set(own)))
    run(copy, "ruff", "format", "--no-cache", "--check", *sorted({p for p in own if "message_count" in p}))
    run(copy, "pytest", "-p", "no:cacheprovider", "-n0", *CHECKED)
