"""How the sections of /sync are brought together."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.errors import MatrixError, not_found
from synapse_lite.handlers.sync import sections
from synapse_lite.handlers.sync.sections import Preparing, SyncSection
from synapse_lite.handlers.sync.values import SyncRequest
from synapse_lite.storage.stream import Change


class Section(SyncSection):
    key = "test"
    kinds = frozenset()

    def __init__(self, read: Callable[[], Awaitable[None]] | None) -> None:
        self._read = read

    def initial(self, reading: Any) -> None: ...

    def since(self, reading: Any, changes: Sequence[Change]) -> None: ...

    def live(self, request: SyncRequest, changes: Sequence[Change]) -> None: ...

    def prepare(self, request: SyncRequest, changes: Sequence[Change]) -> Preparing | None:
        return None if self._read is None else self._do(self._read)

    async def _do(self, read: Callable[[], Awaitable[None]]) -> None:
        await read()


@ensureDeferred
async def test_what_sections_need_is_read_at_the_same_time() -> None:
    """The first is ready only when the second has begun."""
    has_begun: Deferred[None] = Deferred()

    async def begin() -> None:
        has_begun.callback(None)

    async def wait() -> None:
        await has_begun

    await sections.prepare(
        [Section(wait), Section(None), Section(begin)], SyncRequest.__new__(SyncRequest), []
    )


@ensureDeferred
async def test_a_failure_is_raised_as_it_is() -> None:
    """Whoever answers the client makes an answer of it, as of any other."""

    async def fail() -> None:
        raise not_found("No such thing")

    with pytest.raises(MatrixError) as raised:
        await sections.prepare([Section(None), Section(fail)], SyncRequest.__new__(SyncRequest), [])
    assert raised.value.status == 404
