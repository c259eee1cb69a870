"""Where both forms of sync stand between what this process remembers and the database."""

import logging
from collections.abc import Awaitable
from typing import TypeVar

from twisted.internet.defer import CancelledError

from synapse_lite.errors import UnavailableError
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage.database import Database, DatabaseError
from synapse_lite.storage.stream import read_position

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def from_memory(answer: Awaitable[T | None]) -> T | None:
    """None: the database is to be read, also when it is for a room that cannot be read."""
    try:
        return await answer
    except (CancelledError, DatabaseError, UnavailableError):
        raise
    except Exception:
        logger.exception("a sync cannot be answered from memory")
        return None


async def reached(log: ChangeLog, database: Database, position: int) -> int:
    """The position, or the end of the stream when it never came so far: say, a backup was restored."""
    if position <= log.position:
        return position
    return min(position, await database.read(read_position))
