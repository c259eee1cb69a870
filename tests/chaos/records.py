"""What servers have of a room, by their databases: so that it can be read why they do not agree.

Of Synapse the database is asked because no API tells what it refused, nor the state at each event.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from synapse_lite.storage.events import Standing
from synapse_lite.storage.state import REMOVED
from tests.processes.site import Site

State = Mapping[tuple[str, str], str]
ACCEPTED, OUTLIER, SOFT_FAILED, REJECTED = (one.name.lower() for one in Standing)
MAX_LINES = 40  # of events, and of states, in one room


@frozen
class Record:
    """An event as a server has it. `after` is the state after it, None where the server does not know it."""

    standing: str
    reason: str
    kind: str
    sender: str
    text: str
    depth: int
    after: State | None
    previous: Sequence[str] = ()

    @property
    def is_accepted(self) -> bool:
        return self.standing == ACCEPTED

    @property
    def is_placed(self) -> bool:
        """Whether it is part of the history, and not only known."""
        return self.standing != OUTLIER


@frozen
class RoomRecords:
    """`tips` are the forward extremities, `events` all that are known, by id. `waiting`: what is on its way in or out.
    `missing`: what the server has on record as such; `passed_over`: that of it which it asks nobody for.
    """

    tips: Sequence[str] = ()
    events: Mapping[str, Record] = field(factory=dict)
    waiting: Sequence[str] = ()
    missing: Sequence[str] = ()
    passed_over: Sequence[str] = ()


class Records(Protocol):
    def of(self, room: str) -> RoomRecords: ...

    def waiting(self) -> int:
        """How many events wait on their way in or out, as far as it can be told."""


@frozen
class OurRecords:
    site: Site

    def of(self, room: str) -> RoomRecords:
        rows = self.site.rows("SELECT room_nid, extremities FROM rooms WHERE room_id = %s", room)
        if not rows:
            return RoomRecords()
        room_nid, extremities = rows[0]
        found = self.site.rows(
            "SELECT event_nid, event_id, standing, rejected_reason, json, coalesce(point_nid, after_nid) FROM events"
            " WHERE room_nid = %s",
            room_nid,
        )
        ids = {nid: event_id for nid, event_id, *_ in found}
        state = self._states(room_nid, ids)
        return RoomRecords(
            sorted(ids[nid] for nid in extremities),
            {
                event_id: _record(Standing(standing).name.lower(), reason, text, state, snapshot)
                for _, event_id, standing, reason, text, snapshot in found
            },
            self._waiting(room),
        )

    def waiting(self) -> int:
        count: int = self.site.value(
            "SELECT (SELECT count(*) FROM staged_events) + (SELECT count(*) FROM outgoing_events)"
        )
        return count

    def _states(self, room_nid: int, ids: Mapping[int, str]) -> Callable[[int], State]:
        keys = {nid: (kind, key) for nid, kind, key in self.site.rows("SELECT * FROM state_keys")}
        snapshots = {
            nid: (base, dict(zip((keys[one] for one in key_nids), event_nids, strict=True)))
            for nid, base, key_nids, event_nids in self.site.rows(
                "SELECT snapshot_nid, base_nid, key_nids, event_nids FROM state_snapshots WHERE room_nid = %s",
                room_nid,
            )
        }

        def state(nid: int) -> State:
            merged = _merged(snapshots, nid)
            return {key: ids[one] for key, one in merged.items() if one != REMOVED}

        return state

    def _waiting(self, room: str) -> list[str]:
        servers = self.site.rows(
            "SELECT server_name, pending, behind, failing_since, retry_interval, retry_at, owner, txn_id"
            " FROM destinations WHERE pending OR behind OR failing_since IS NOT NULL"
        )
        lines = [_lines(what, self.site.rows(sql, room)) for what, sql in _WAITING.items()]
        return [line for some in (*lines, _lines("server", servers)) for line in some]


_ROOM = "(SELECT room_nid FROM rooms WHERE room_id = %s)"
_WAITING = {
    "staged": "SELECT event_id, origin FROM staged_events WHERE room_id = %s",
    "lease": "SELECT owner, leased_until FROM staged_rooms WHERE room_id = %s",
    "gap": f"SELECT missing_event_id, position FROM room_gaps WHERE room_nid = {_ROOM}",
    "outgoing": f"SELECT server_name, count(*) FROM outgoing_events WHERE room_nid = {_ROOM} GROUP BY 1",
    "to catch up with": f"SELECT server_name, missed_position FROM destination_rooms WHERE room_nid = {_ROOM}"
    " AND missed_position IS NOT NULL",
}


@frozen
class SynapseRecords:
    """By its SQLite database."""

    database: Path

    def of(self, room: str) -> RoomRecords:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:

            def rows(sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
                return connection.execute(sql, arguments or (room,)).fetchall()

            state = _groups(rows)
            found = rows(
                "SELECT event_id, outlier, coalesce(r.reason, rejection_reason), internal_metadata, json, state_group"
                " FROM events JOIN event_json USING (event_id) LEFT JOIN rejections r USING (event_id)"
                " LEFT JOIN event_to_state_groups USING (event_id) WHERE events.room_id = ?"
            )
            tips = rows("SELECT event_id FROM event_forward_extremities WHERE room_id = ? ORDER BY event_id")
            return RoomRecords(
                [event_id for (event_id,) in tips],
                {
                    event_id: _record(_standing(outlier, reason, metadata), reason, text, state, group)
                    for event_id, outlier, reason, metadata, text, group in found
                },
                [
                    *_lines("staged", rows("SELECT event_id, origin FROM federation_inbound_events_staging WHERE room_id = ?")),
                    *_lines("gap", rows("SELECT event_id FROM event_backward_extremities WHERE room_id = ?")),
                    *_lines("pulled in vain", rows("SELECT event_id, num_attempts, last_cause FROM event_failed_pull_attempts WHERE room_id = ?")),
                    *_lines("server", rows("SELECT destination, retry_interval FROM destinations WHERE retry_interval > ?", 0)),
                ],
                [event_id for (event_id,) in rows("SELECT event_id FROM event_backward_extremities WHERE room_id = ?")],
                passed_over(connection, room),
            )  # fmt: skip

    def waiting(self) -> int:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM federation_inbound_events_staging").fetchone()
            return int(count)


def passed_over(connection: sqlite3.Connection, room: str) -> list[str]:
    """What Synapse knows to be missing below redactions only: from there it does not go on (synapse#13675)."""
    rows = connection.execute(
        "SELECT event_id FROM event_backward_extremities b WHERE room_id = ? AND NOT EXISTS ("
        "SELECT 1 FROM event_edges f JOIN events e USING (event_id) WHERE f.prev_event_id = b.event_id"
        " AND NOT e.outlier AND e.type != 'm.room.redaction')",
        (room,),
    )
    return [event_id for (event_id,) in rows]


def explain(records: Mapping[str, Records], room: str) -> str:
    """Where the servers, by name, differ about the room: ends, events, states, and what waits."""
    found = {name: one.of(room) for name, one in records.items()}
    lines = [f"{name} ends at {', '.join(one.tips)}" for name, one in found.items()]
    lines += [f"{name} has {line}" for name, one in found.items() for line in one.waiting]
    ordered = sorted(
        {event_id for one in found.values() for event_id in one.events},
        key=lambda event_id: (_any(found, event_id).depth, event_id),
    )
    standings, states = [], []
    for event_id in ordered:
        at = {name: one.events.get(event_id) for name, one in found.items()}
        if len({one and one.standing for one in at.values()}) > 1:
            standings.append(f"{event_id} {_any(found, event_id).text}\n{_standings(at)}")
        if difference := _difference({name: one.after for name, one in at.items() if one and one.after}):
            states.append(f"after {event_id} {_any(found, event_id).text}\n{difference}")
    for what in (standings, states):
        lines += what[:MAX_LINES]
        if what[MAX_LINES:]:
            lines.append(f"and {len(what) - MAX_LINES} more")
    return "\n".join(lines)


def _any(found: Mapping[str, RoomRecords], event_id: str) -> Record:
    return next(one.events[event_id] for one in found.values() if event_id in one.events)


def _standings(at: Mapping[str, Record | None]) -> str:
    return "\n".join(
        f"    {name}: {f'{one.standing} {one.reason}' if one else 'unknown'}" for name, one in at.items()
    )


def _difference(states: Mapping[str, State]) -> str:
    keys = sorted({key for state in states.values() for key in state})
    return "\n".join(
        f"    {key}: {', '.join(f'{name} {state.get(key)}' for name, state in states.items())}"
        for key in keys
        if len({state.get(key) for state in states.values()}) > 1
    )


def _record(
    standing: str, reason: str | None, text: str, state: Callable[[int], State], group: int | None
) -> Record:
    event = json.loads(text)
    what = " ".join(
        str(one)
        for one in (
            event["type"], event.get("state_key"), event["content"].get("membership"), "by", event["sender"],
            "at", event["origin_server_ts"], "after", event["prev_events"], "by right of", event["auth_events"],
        )
        if one is not None
    )  # fmt: skip
    after = None if group is None else state(group)
    previous = event["prev_events"]
    return Record(
        standing, reason or "", event["type"], event["sender"], what, event["depth"], after, previous
    )


def _standing(outlier: int, reason: str | None, metadata: str) -> str:
    if reason is not None:
        return REJECTED
    if json.loads(metadata).get("soft_failed"):
        return SOFT_FAILED
    return OUTLIER if outlier else ACCEPTED


def _groups(rows: Callable[[str], Iterable[tuple[Any, ...]]]) -> Callable[[int], State]:
    bases = dict(
        rows(
            "SELECT state_group, prev_state_group FROM state_group_edges"
            " WHERE state_group IN (SELECT id FROM state_groups WHERE room_id = ?)"
        )
    )
    own: dict[int, dict[tuple[str, str], str]] = {}
    for group, kind, key, event_id in rows(
        "SELECT state_group, type, state_key, event_id FROM state_groups_state WHERE room_id = ?"
    ):
        own.setdefault(group, {})[kind, key] = event_id
    groups = {group: (bases.get(group, 0), own.get(group, {})) for group in {*bases, *own}}
    return lambda group: _merged(groups, group)


def _merged(
    layers: Mapping[int, tuple[int, Mapping[tuple[str, str], Any]]], top: int
) -> dict[tuple[str, str], Any]:
    merged: dict[tuple[str, str], Any] = {}
    while top in layers:
        base, own = layers[top]
        merged = {**own, **merged}
        top = base
    return merged


def _lines(what: str, rows: Iterable[Sequence[Any]]) -> list[str]:
    return [f"{what}: {', '.join(map(str, row))}" for row in rows]
