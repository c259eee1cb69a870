"""Where a device that wants to sign in meets one that has (MSC4108)."""

from attrs import evolve

from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.ids import random_text
from synapse_lite.storage import rendezvous
from synapse_lite.storage.database import Database
from synapse_lite.storage.rendezvous import RendezvousSession

SESSION_LETTERS = 32
ETAG_LETTERS = 16
LIFETIME_MS = 60_000
SESSIONS = 1000  # of all processes; then the oldest ends


class Rendezvous:
    """What the devices leave for each other is encrypted; who knows the id of a session may read and replace it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def open(self, content: bytes) -> RendezvousSession:
        now_ms = self._clock.now_ms()
        session = RendezvousSession(
            random_text(SESSION_LETTERS), content, random_text(ETAG_LETTERS), now_ms, now_ms + LIFETIME_MS
        )
        await self._database.transact(rendezvous.add_session, session, SESSIONS)
        return session

    async def find(self, session_id: str) -> RendezvousSession:
        """404 for one that is unknown or has ended."""
        session = await self._database.read(rendezvous.find_session, session_id, self._clock.now_ms())
        if session is None:
            raise not_found("Rendezvous session not found")
        return session

    async def replace(self, session_id: str, expected: str, content: bytes) -> RendezvousSession:
        """412 `M_CONCURRENT_WRITE` when the content is not that of the `expected` tag any more."""
        session = evolve(
            await self.find(session_id),
            content=content,
            etag=random_text(ETAG_LETTERS),
            modified_ts=self._clock.now_ms(),
        )
        if not await self._database.transact(rendezvous.replace_content, session, expected):
            extra = {"org.matrix.msc4108.errcode": "M_CONCURRENT_WRITE"}
            raise MatrixError(412, Errcode.UNKNOWN, "The content has changed meanwhile", extra)
        return session

    async def close(self, session_id: str) -> None:
        """404 for one that is unknown or has ended."""
        if not await self._database.transact(rendezvous.delete_session, session_id, self._clock.now_ms()):
            raise not_found("Rendezvous session not found")


__all__ = ["Rendezvous", "RendezvousSession"]
