"""What users have to agree to before they write, and how they do so."""

import logging

from attrs import evolve

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError, invalid_param
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.server_notices import ServerNotices
from synapse_lite.handlers.terms import Terms, with_uri
from synapse_lite.matrix.types import MESSAGE
from synapse_lite.storage import consent
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database

REMEMBERED_USERS = 100_000  # of whom it is known that they were asked

logger = logging.getLogger(__name__)


class Consent:
    """`notices` sends messages of the server; where these are off, nobody gets one."""

    def __init__(self, database: Database, clock: Clock, terms: Terms, notices: ServerNotices) -> None:
        self._database = database
        self._clock = clock
        self._terms = terms
        self._notices = notices
        self._asked: Cache[str, bool] = Cache(REMEMBERED_USERS)

    @property
    def terms(self) -> Terms:
        return self._terms

    async def has_agreed(self, user_id: str) -> bool:
        """To the present version."""
        agreed_to = await self._database.read(consent.agreed_version, user_id)
        return agreed_to == self._terms.options.version

    async def agree(self, user_id: str, version: str) -> None:
        """400 `M_INVALID_PARAM` unless it is the present version, 404 for an unknown user."""
        if version != self._terms.options.version:
            raise invalid_param("These terms are not in force")
        await self._database.transact(consent.set_agreed, user_id, version, self._clock.now_ms())

    async def ask(self, requester: Requester) -> None:
        """Send the message of the configuration, once for each version. A failure is nobody's trouble."""
        options, user_id = self._terms.options, requester.user_id
        is_wanted = options.send_server_notice_to_guests or not requester.is_guest
        if options.server_notice_content is None or not is_wanted or self._asked.get(user_id):
            return
        self._asked.put(user_id, True)
        if not await self._database.read(consent.is_to_be_asked, user_id, options.version):
            return
        content = with_uri(options.server_notice_content, self._terms.uri(user_id))
        anybody = evolve(requester, session=f"{user_id} consent")  # for whatever device: the message is one
        try:
            await self._notices.send(anybody, user_id, MESSAGE, content, txn_id=options.version)
        except MatrixError as error:
            logger.warning("%s cannot be asked for their consent: %s", user_id, error)
        else:
            await self._database.transact(consent.set_asked, user_id, options.version)
