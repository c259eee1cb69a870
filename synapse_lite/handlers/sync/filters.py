"""The filter of a sync request: given as JSON, or by the id under which it is stored."""

from synapse_lite.canonical_json import decode_object
from synapse_lite.errors import Errcode, MatrixError, invalid_param
from synapse_lite.handlers.account_data import AccountData
from synapse_lite.handlers.filters import SyncFilter, read_sync_filter
from synapse_lite.storage.cache import Cache

REMEMBERED_BYTES = 4_000_000
FILTER_BYTES = 2_000  # about what a filter takes beside its text


class SyncFilters:
    """Filters never change: those in use are kept as they were read.

    `max_limit` as of `read_sync_filter`; the rooms `hidden` are in no answer.
    """

    def __init__(self, account_data: AccountData, max_limit: int, hidden: tuple[str, ...] = ()) -> None:
        self._account_data = account_data
        self._max_limit = max_limit
        self._hidden = hidden
        self._default = SyncFilter().without_rooms(hidden)
        self._known: Cache[tuple[str, str], SyncFilter] = Cache(REMEMBERED_BYTES)

    async def read(self, user_id: str, text: str | None) -> SyncFilter:
        """400 for what is no filter, and `M_INVALID_PARAM` for an id that the user does not have."""
        if not text:
            return self._default
        key = ("" if text.startswith("{") else user_id, text)
        known = self._known.get(key)
        if known is None:
            known = (await self._read(user_id, text)).without_rooms(self._hidden)
            self._known.put(key, known, FILTER_BYTES + 4 * len(text))
        return known

    async def _read(self, user_id: str, text: str) -> SyncFilter:
        if text.startswith("{"):
            return read_sync_filter(decode_object(text), self._max_limit)
        try:
            definition = await self._account_data.filter(user_id, text)
        except MatrixError as error:
            if error.errcode != Errcode.NOT_FOUND:
                raise
            raise invalid_param("Invalid filter ID") from error
        return read_sync_filter(definition, self._max_limit)
