"""What servers have to make of the events of a room, wherever those were sent."""

from collections.abc import Collection, Iterator, Mapping

from synapse_lite.matrix.types import MEMBER
from tests.chaos.records import REJECTED, Record, RoomRecords


def misjudged(
    found: Mapping[str, RoomRecords], moderators: Collection[str], theirs: str
) -> dict[str, list[str]]:
    """By server, what it rejects, lacks, or does not show although it must; `theirs` is the Synapse.

    What the moderators say is shown everywhere. The rest, and who is let in or shut out by whom, may be soft-failed. Only Synapse may
    lack the rest, and what it has on record as missing and passes over.
    """
    accepted = {
        one: record for room in found.values() for one, record in room.events.items() if record.is_accepted
    }
    return {
        name: [*_rejected(room), *_missed(room, accepted, moderators, is_theirs=name == theirs)]
        for name, room in found.items()
    }


def _rejected(room: RoomRecords) -> Iterator[str]:
    return (f"rejects {one}" for one, record in room.events.items() if record.standing == REJECTED)


def _missed(
    room: RoomRecords, accepted: Mapping[str, Record], moderators: Collection[str], *, is_theirs: bool
) -> Iterator[str]:
    for one, record in accepted.items():
        is_beyond_doubt = record.sender in moderators and record.kind != MEMBER
        has = room.events.get(one)
        if is_theirs and not is_beyond_doubt:
            continue  # it does not fetch all that it needs for nothing
        if has is None or not has.is_placed:
            if not (is_theirs and one in room.passed_over):
                yield f"lacks {one}"
        elif is_beyond_doubt and not has.is_accepted:
            yield f"does not show {one}"
