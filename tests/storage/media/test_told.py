"""Whoever changes a row of media that a process may remember tells of it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import synapse_lite

PACKAGE = Path(synapse_lite.__file__).parent
WRITES = re.compile(
    r"\b(?:INSERT INTO|UPDATE|DELETE FROM|MERGE INTO|TRUNCATE|COPY)\s+(?:ONLY\s+)?"
    r"(?:media|media_blobs|media_thumbnails|media_quarantine|media_quarantined_hashes)\b",
    re.IGNORECASE,
)
FILES, BLOBS = "storage/media/files.py", "storage/media/blobs.py"
SILENT = {
    (FILES, "reserve"): "a name that was not there: nobody remembers that",
    (FILES, "fill"): "a name without bytes, which nobody remembers",
    (FILES, "delete_expired_reservations"): "names without bytes",
    (FILES, "note_access"): "no reader looks at it",
    ("storage/media/quarantine.py", "_hide"): "`quarantine` tells; `hide_new` hides what is new",
    ("storage/media/thumbnails.py", "add_thumbnail"): "what is there stays as it is",
    (BLOBS, "hold"): "readers do not see when bytes are looked at",
    (BLOBS, "confirm"): "as `hold`",
    (BLOBS, "release"): "as `hold`",
    (BLOBS, "pick_unreferenced"): "as `hold`",
    (BLOBS, "adopt"): "bytes that no row knew",
}


def writers() -> Iterator[tuple[tuple[str, str], bool]]:
    """(file, function) that writes the tables, and whether it tells."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module, name = ast.parse(path.read_text()), str(path.relative_to(PACKAGE))
        functions = [
            one for one in ast.walk(module) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for function in functions:
            if _writes(function):
                yield (name, function.name), _tells(function)
        if any(_writes(one) for one in module.body if not isinstance(one, ast.FunctionDef | ast.ClassDef)):
            yield (name, "module"), False


def _writes(node: ast.AST) -> bool:
    return any(WRITES.search(text) for text in _texts(node))


def _texts(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def _tells(function: ast.AST) -> bool:
    calls = (one.func for one in ast.walk(function) if isinstance(one, ast.Call))
    return any(isinstance(called, ast.Name) and called.id == "tell" for called in calls)


def test_every_writer_tells_or_says_why_not() -> None:
    found = dict(writers())
    silent = {where for where, tells in found.items() if not tells}
    assert silent == SILENT.keys()
    assert {name for (_, name), tells in found.items() if tells} == {
        "add",
        "protect",
        "quarantine",
        "unquarantine",
        "forget_lost",
        "write_image_error",
    } | {"delete"}
    assert sum(found.values()) == 8  # `delete` is one of media and one of bytes
