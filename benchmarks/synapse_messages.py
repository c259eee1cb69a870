"""Many messages in rooms of Synapse: clients take an hour to send 100,000.

They follow the newest message of each room, as copies of it with texts of their own: chained, hashed and signed with
the server's key, in rows as it wrote them for that one, those of its search and of what is unread too. It has to start
anew before it knows them.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import attrs
import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (a class)

from benchmarks.server import SERVER_NAME, Site
from benchmarks.synapse_rooms import Rows, insert, last_number, move_positions, rows_of
from synapse_lite.matrix.event import Draft, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.workers.keys import load_signing_key

BATCH = 1000  # messages
_OF_EVENT = (
    "events",
    "event_json",
    "event_edges",
    "event_to_state_groups",
    "event_search",
    "event_push_actions",
    "stream_ordering_to_exterm",
)
_NEWEST = "SELECT event_id FROM event_forward_extremities WHERE room_id = %s"
_VECTORS = "SELECT to_tsvector('english', t)::text FROM unnest(%s) WITH ORDINALITY AS texts (t, n) ORDER BY n"
"""As it cuts the text of a message into words."""


@attrs.define
class Room:
    """Where the room has come to, and the rows of its newest message as a client sent it."""

    room_id: str
    version: RoomVersion
    rows: Rows
    pdu: dict[str, Any]
    newest: str
    depth: int

    def next_rows(self, key: SigningKey, text: str, vector: str, number: int, position: int) -> Rows:
        """Of one message more, which is `number` milliseconds younger than the first one."""
        before, self.depth = self.newest, self.depth + 1
        at = self.pdu["origin_server_ts"] + number
        event = build_event(
            Draft("m.room.message", self.pdu["sender"], {**self.pdu["content"], "body": text}, at, None),
            self.version,
            self.room_id,
            [before],
            self.pdu["auth_events"],
            self.depth,
            key,
        )
        self.newest = event.event_id
        values = {
            "event_id": event.event_id,
            "prev_event_id": before,
            "stream_ordering": position,
            "topological_ordering": self.depth,
            "depth": self.depth,
            "origin_server_ts": at,
            "json": json.dumps({**event.pdu, "unsigned": {"age_ts": at}}),
            "internal_metadata": "{}",  # that of the first one names the request of its client
            "vector": vector,
        }
        return {
            table: [row | {name: value for name, value in values.items() if name in row} for row in rows]
            for table, rows in self.rows.items()
        }


def add_messages(site: Site, senders: Mapping[str, str], texts: Sequence[str]) -> None:
    """All of the texts in each of the rooms, of which the newest event is a message of that sender."""
    key = load_signing_key(site.signing_key_path, SERVER_NAME)
    with closing(psycopg2.connect(**site.connection_arguments())) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(_VECTORS, (list(texts),))
            vectors = [vector for (vector,) in cursor.fetchall()]
            rooms = [_read(cursor, room_id) for room_id in senders]
            position = last_number(cursor, "events_stream_seq")
            written: list[Rows] = []
            for number, (text, vector) in enumerate(zip(texts, vectors, strict=True), 1):
                for room in rooms:
                    position += 1
                    written.append(room.next_rows(key, text, vector, number, position))
                if len(written) >= BATCH or number == len(texts):
                    insert(cursor, written)
                    written = []
            for room in rooms:
                _end_with(cursor, room)
            move_positions(cursor, position)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _read(cursor: Cursor, room_id: str) -> Room:
    cursor.execute(_NEWEST, (room_id,))
    ((newest,),) = cursor.fetchall()
    rows = {table: rows_of(cursor, table, "event_id", [newest]) for table in _OF_EVENT}
    cursor.execute("SELECT room_version FROM rooms WHERE room_id = %s", (room_id,))
    ((version,),) = cursor.fetchall()
    pdu = json.loads(rows["event_json"][0]["json"])
    return Room(room_id, ROOM_VERSIONS[version], rows, pdu, newest, pdu["depth"])


def _end_with(cursor: Cursor, room: Room) -> None:
    """The newest message is the one that the next event follows."""
    cursor.execute(
        "UPDATE event_forward_extremities SET event_id = %s WHERE room_id = %s", (room.newest, room.room_id)
    )
    cursor.execute(
        "UPDATE sliding_sync_joined_rooms SET (event_stream_ordering, bump_stamp) ="
        " (SELECT stream_ordering, stream_ordering FROM events WHERE event_id = %s) WHERE room_id = %s",
        (room.newest, room.room_id),
    )
