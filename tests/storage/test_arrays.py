"""Lists of texts as arguments of statements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2 import extensions
from pytest_twisted import ensureDeferred

from synapse_lite.storage import pool  # noqa: F401 (registers what is tested)
from synapse_lite.storage.database import Database

TEXTS = ["", "NULL", 'a"b', "c\\d", "it's", "{x,y}", "two\nlines", " ", "ü😀", '\\"', "$$"]


@ensureDeferred
async def test_texts_come_back_as_they_are(database: Database) -> None:
    """Quotes, backslashes, braces, commas, empty texts: each is one element, and the list is of type text[]."""
    row = await database.read(lambda txn: txn.row("SELECT %s, pg_typeof(%s)::text", (TEXTS, TEXTS)))
    assert row == (TEXTS, "text[]")


@pytest.mark.parametrize("values", [[1, 2], ["a", None], []])
@ensureDeferred
async def test_other_lists_are_arrays_too(database: Database, values: list[object]) -> None:
    """Numbers, and texts beside NULL."""
    kind = "int[]" if values == [1, 2] else "text[]"
    assert await database.read(lambda txn: txn.value(f"SELECT %s::{kind}", (values,))) == values


@given(st.lists(st.text(min_size=1), min_size=1).filter(lambda texts: "\0" in "".join(texts)))
def test_nul_is_refused(texts: list[str]) -> None:
    """Wherever it stands: it never divides one text into two."""
    with pytest.raises(ValueError, match="NUL"):
        extensions.adapt(texts)


def test_lists_of_lists_are_refused() -> None:
    """Nobody needs them."""
    with pytest.raises(TypeError):
        extensions.adapt([["a"]])
