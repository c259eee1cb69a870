"""Many rooms of one user in Synapse: it takes twenty minutes to make 5,000 when clients ask for them.

They are copies of one room that it made itself: events of their own, hashed and signed with its key, in rows as it
writes them. It has to start anew before it knows them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import attrs
import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (a class)

from benchmarks.server import SERVER_NAME, Site
from synapse_lite.matrix.event import Draft, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.workers.keys import load_signing_key

Row = dict[str, Any]
Rows = dict[str, list[Row]]  # by table

BATCH = 100  # rooms
_OF_ROOM = (
    "rooms",
    "room_depth",
    "room_stats_state",
    "room_stats_current",
    "events",
    "event_json",
    "state_events",
    "room_memberships",
    "local_current_membership",
    "current_state_events",
    "current_state_delta_stream",
    "event_auth",
    "event_forward_extremities",
    "stream_ordering_to_exterm",
    "state_groups",
    "state_groups_state",
    "sliding_sync_joined_rooms",
    "sliding_sync_membership_snapshots",
    "users_in_public_rooms",
)
_OF_EVENTS = ("event_edges", "event_auth_chains", "event_to_state_groups")
_STREAM = ("stream_ordering", "event_stream_ordering", "stream_id", "bump_stamp")
_GROUP = ("state_group", "prev_state_group")
_CHAIN = ("chain_id", "origin_chain_id", "target_chain_id")
_POSITIONS = (
    "UPDATE stream_positions SET stream_id = %(last)s WHERE stream_name = 'events'",
    "UPDATE federation_stream_position SET stream_id = %(last)s WHERE type = 'events'",
    "UPDATE stats_incremental_position SET stream_id = %(last)s",
    "UPDATE user_directory_stream_pos SET stream_id = %(last)s",
    "UPDATE room_forgetter_stream_pos SET stream_id = %(last)s",
    "UPDATE delayed_events_stream_pos SET stream_id = %(last)s",
    "SELECT setval('events_stream_seq', %(last)s)",
    "SELECT setval('state_group_id_seq', (SELECT max(id) FROM state_groups))",
    "SELECT setval('event_auth_chain_id', (SELECT max(chain_id) FROM event_auth_chains))",
)
"""How far Synapse has come with its events: so many are known, and all is done that follows from them."""


@attrs.frozen
class Span:
    """Numbers that the room has of one kind, and those that are free from `free` on."""

    first: int
    count: int
    free: int

    @classmethod
    def of(cls, numbers: Sequence[int], last: int) -> "Span":
        return cls(min(numbers), max(numbers) - min(numbers) + 1, last + 1)

    def moved(self, number: int, copied: int) -> int:
        return number - self.first + self.free + copied * self.count


@attrs.frozen
class Template:
    room_id: str
    version: RoomVersion
    rows: Rows
    events: Sequence[Row]  # PDUs by "event_id" and "json", the oldest first
    spans: Mapping[str, Span]  # by column


def copy_room(site: Site, room_id: str, count: int) -> list[str]:
    """The ids of `count` rooms like this one, which has been made and left alone since."""
    key = load_signing_key(site.signing_key_path, SERVER_NAME)
    with closing(psycopg2.connect(**site.connection_arguments())) as connection:
        with connection, connection.cursor() as cursor:
            template = _read(cursor, room_id)
            room_ids = []
            for start in range(0, count, BATCH):
                copies = [copy(template, key, one) for one in range(start, min(count, start + BATCH))]
                room_ids += [copied for copied, _ in copies]
                insert(cursor, [rows for _, rows in copies])
            last = template.spans["stream_ordering"].moved(template.spans["stream_ordering"].first, count) - 1
            move_positions(cursor, last)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    return room_ids


def _read(cursor: Cursor, room_id: str) -> Template:
    rows = {table: rows_of(cursor, table, "room_id", [room_id]) for table in _OF_ROOM}
    events = sorted(rows["events"], key=lambda row: int(row["stream_ordering"]))
    event_ids = [row["event_id"] for row in events]
    rows |= {table: rows_of(cursor, table, "event_id", event_ids) for table in _OF_EVENTS}
    groups = [row["id"] for row in rows["state_groups"]]
    chains = [row["chain_id"] for row in rows["event_auth_chains"]]
    rows["state_group_edges"] = rows_of(cursor, "state_group_edges", "state_group", groups)
    rows["event_auth_chain_links"] = rows_of(cursor, "event_auth_chain_links", "origin_chain_id", chains)
    stream = Span.of([row["stream_ordering"] for row in events], last_number(cursor, "events_stream_seq"))
    group = Span.of(groups, last_number(cursor, "state_group_id_seq"))
    chain = Span.of(chains, last_number(cursor, "event_auth_chain_id"))
    texts = {row["event_id"]: row["json"] for row in rows["event_json"]}
    return Template(
        room_id,
        ROOM_VERSIONS[rows["rooms"][0]["room_version"]],
        rows,
        [{"event_id": event_id, "json": texts[event_id]} for event_id in event_ids],
        {
            **dict.fromkeys(_STREAM, stream),
            **dict.fromkeys(_GROUP, group),
            **dict.fromkeys(_CHAIN, chain),
        },
    )


def rows_of(cursor: Cursor, table: str, column: str, values: Sequence[Any]) -> list[Row]:
    cursor.execute(f"SELECT row_to_json(t) FROM {table} AS t WHERE {column} = ANY(%s)", (list(values),))
    return [row for (row,) in cursor.fetchall()]


def last_number(cursor: Cursor, sequence: str) -> int:
    cursor.execute(f"SELECT last_value FROM {sequence}")
    return int(cursor.fetchall()[0][0])


def copy(template: Template, key: SigningKey, number: int) -> tuple[str, Rows]:
    """The id of the copy, and its rows. Its events are some milliseconds younger, so that they are others."""
    ids: dict[str, str] = {}
    texts: dict[str, str] = {}
    for row in template.events:
        pdu = json.loads(_replaced(row["json"], ids))
        is_create = pdu["type"] == "m.room.create" and template.version.room_id_is_hash
        event = build_event(
            Draft(
                pdu["type"],
                pdu["sender"],
                pdu["content"],
                pdu["origin_server_ts"] + number + 1,
                pdu["state_key"],
            ),
            template.version,
            None if is_create else ids[template.room_id],
            pdu["prev_events"],
            pdu["auth_events"],
            pdu["depth"],
            key,
        )
        if is_create:
            ids[template.room_id] = event.room_id
        ids[row["event_id"]] = event.event_id
        texts[event.event_id] = json.dumps({**event.pdu, "unsigned": pdu["unsigned"]})
    rows = {
        table: [_moved(template, table, row, number) for row in json.loads(_replaced(json.dumps(found), ids))]
        for table, found in template.rows.items()
    }
    for row in rows["event_json"]:
        row["json"] = texts[row["event_id"]]
    for row in rows["events"]:
        row["origin_server_ts"] += number + 1
    return ids[template.room_id], rows


def _replaced(text: str, ids: Mapping[str, str]) -> str:
    for before, after in ids.items():
        text = text.replace(before, after)
    return text


def _moved(template: Template, table: str, row: Row, number: int) -> Row:
    spans = template.spans
    if table == "state_groups":
        return {**row, "id": spans["state_group"].moved(row["id"], number)}
    return {
        name: spans[name].moved(value, number) if name in spans and value is not None else value
        for name, value in row.items()
    }


def move_positions(cursor: Cursor, last: int) -> None:
    """To the last event there is."""
    for statement in _POSITIONS:
        cursor.execute(statement, {"last": last})


def insert(cursor: Cursor, copies: Sequence[Rows]) -> None:
    for table in copies[0]:
        rows = list(_joined(copies, table))
        cursor.execute(
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM json_populate_recordset(NULL::{table}, %s)",
            (json.dumps(rows),),
        )


def _joined(copies: Sequence[Rows], table: str) -> Iterator[Row]:
    for rows in copies:
        yield from rows[table]
