from pytest_twisted import async_fixture

from synapse_lite.storage.database import Database
from tests.rooms.meeting import Meeting


@async_fixture
async def meeting(database: Database, version: str) -> Meeting:
    """Of the room version with which the module's tests are parametrized."""
    return await Meeting(database, version).open()
