"""Rooms to be shut down, and how."""

from typing import Any

from synapse_lite.handlers.filters import DEFAULT_LIMIT, read_sync_filter
from synapse_lite.handlers.sync.departures import read_departures
from synapse_lite.handlers.sync.values import RoomDelta, SyncRequest
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import read_position
from synapse_lite.storage.tasks import Task
from synapse_lite.tasks.actions.shutdown_room import (
    SHUTDOWN_AND_PURGE_ROOM,
    Replacement,
    ShutdownParams,
)
from tests.builders import ALICE, BOB, SERVER
from tests.handlers.house import requester
from tests.tasks.remains import furnish
from tests.tasks.steps import Steps

SHUTDOWN = SHUTDOWN_AND_PURGE_ROOM


async def furnished(steps: Steps, version: str = "12", messages: int = 0) -> Room:
    """A room of Alice and Bob, with something in every table."""

    def make(txn: Transaction) -> Room:
        room = steps.world.room(txn, ALICE, BOB, version=version)
        furnish(txn, steps.world, room)
        for _ in range(messages):
            steps.world.message(txn, room, BOB)
        return room

    return await steps.do(make)


async def shut_down(steps: Steps, room: Room, batch: int = 100, **params: Any) -> Task:
    return await steps.run(SHUTDOWN, ShutdownParams(room_id=room.room_id, **params), batch)


def replacement(version: str = "12") -> Replacement:
    creator = f"@warden:{SERVER}"
    create: dict[str, Any] = {"room_version": version}
    if not ROOM_VERSIONS[version].implicit_creator:
        create["creator"] = creator
    users = {} if ROOM_VERSIONS[version].privileged_creators else {creator: 100}
    levels = {"users": users, "users_default": -10}
    state = (("m.room.power_levels", "", levels), ("m.room.join_rules", "", {"join_rule": "public"}))
    return Replacement(creator=creator, version=version, create=create, state=state, message="Moved.")


async def departed(steps: Steps, user_id: str, since: int) -> list[RoomDelta]:
    """What a sync from `since` on says about rooms that are gone."""
    request = SyncRequest(requester(user_id), since, 0, read_sync_filter({}, DEFAULT_LIMIT))

    def read(txn: Transaction) -> list[RoomDelta]:
        return read_departures(txn, request, since, read_position(txn))

    return await steps.do(read)
