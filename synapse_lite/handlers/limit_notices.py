"""Users are told while nobody more is let in (`mau_limit_alerting`; client-server API, "Server Notices")."""

import logging

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.active_users import ActiveUsers
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.server_notices import ServerNotices
from synapse_lite.storage.cache import Cache

LOOK_SECONDS = 60.0  # a count, once in so long and process
REMEMBERED_USERS = 100_000

logger = logging.getLogger(__name__)


class LimitNotices:
    """One message in the room of notices, pinned as long as the number is reached. `contact`: whom one may ask."""

    def __init__(
        self, active: ActiveUsers, notices: ServerNotices, clock: Clock, contact: str | None
    ) -> None:
        self._active = active
        self._notices = notices
        self._clock = clock
        self._content: JsonObject = {
            "msgtype": "m.server_notice",
            "server_notice_type": "m.server_notice.usage_limit_reached",
            "limit_type": "monthly_active_user",
            "body": "This server has reached its limit of monthly active users: some users may be unable to use it.",
            **({"admin_contact": contact} if contact else {}),
        }
        self._is_full: bool | None = None
        self._look_at = 0.0
        self._told: Cache[str, bool] = Cache(REMEMBERED_USERS)

    async def tell(self, requester: Requester) -> None:
        """Before they sync. Who is not let in reads it in the refusal. A failure is nobody's trouble.

        Nobody is told anything, nor that it is over, before it was looked once: after a restart all come at the same moment.
        """
        if requester.over_limit is not None:
            return
        if self._clock.monotonic() >= self._look_at:
            self._look_at = self._clock.monotonic() + LOOK_SECONDS
            self._is_full = await self._active.is_full()
        user_id, is_full = requester.user_id, self._is_full
        if is_full is None or self._told.get(user_id) is is_full:
            return
        try:
            await self._notices.pin(user_id, self._content if is_full else None)
        except MatrixError as error:
            logger.warning("%s is not told about the limit of active users: %s", user_id, error)
        self._told.put(user_id, is_full)
