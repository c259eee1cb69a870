"""What servers have to make of the events of a room, wherever those were sent."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from synapse_lite.matrix.types import MEMBER
from tests.chaos.records import REJECTED, Record, RoomRecords


def misjudged(
    found: Mapping[str, RoomRecords], moderators: Collection[str], theirs: str
) -> dict[str, list[str]]:
    """By server, what it rejects, lacks, or does not show although it must; `theirs` is the Synapse.

    What the moderators say is shown everywhere. The rest, and who is let in or shut out by whom, may be soft-failed. Only Synapse may
    lack the rest, and what it has on record as missing and passes over, with what only that leads to.
    """
    accepted = {
        one: record for room in found.values() for one, record in room.events.items() if record.is_accepted
    }
    previous = {one: record.previous for room in found.values() for one, record in room.events.items()}
    out_of_reach = _out_of_reach(found[theirs], previous)
    return {
        name: [
            *_rejected(room),
            *_missed(room, accepted, moderators, out_of_reach if name == theirs else None),
        ]
        for name, room in found.items()
    }


def _rejected(room: RoomRecords) -> Iterator[str]:
    return (f"rejects {one}" for one, record in room.events.items() if record.standing == REJECTED)


def _missed(
    room: RoomRecords,
    accepted: Mapping[str, Record],
    moderators: Collection[str],
    may_lack: Collection[str] | None,
) -> Iterator[str]:
    """`may_lack`: of what is beyond doubt; None for a server that may lack nothing."""
    for one, record in accepted.items():
        is_beyond_doubt = record.sender in moderators and record.kind != MEMBER
        has = room.events.get(one)
        if may_lack is not None and not is_beyond_doubt:
            continue  # it does not fetch all that it needs for nothing
        if has is None or not has.is_placed:
            if one not in (may_lack or ()):
                yield f"lacks {one}"
        elif is_beyond_doubt and not has.is_accepted:
            yield f"does not show {one}"


def _out_of_reach(room: RoomRecords, previous: Mapping[str, Sequence[str]]) -> set[str]:
    """What a server passes over, and what lies below that: not what anything that it has placed follows."""
    found = set(room.passed_over)
    frontier = list(found)
    while frontier:
        for one in previous.get(frontier.pop(), ()):
            has = room.events.get(one)
            if one in found or one in room.missing or (has is not None and has.is_placed):
                continue
            found.add(one)
            frontier.append(one)
    return found
