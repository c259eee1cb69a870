"""What the database's own catalogue says about rooms: every row that names one, wherever it is."""

from typing import Any

from attrs import frozen

from synapse_lite.rooms.values import Write
from synapse_lite.storage import account_data, ephemeral, outgoing
from synapse_lite.storage import aliases as alias_store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.ephemeral import Receipt
from synapse_lite.storage.event_transactions import ClientRequest
from synapse_lite.storage.outgoing import OutgoingEdu, OutgoingEvent
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import Kind
from tests.builders import ALICE, BOB, SERVER, World

# What outlives a room: the memory that it is gone, who may not make it again, and the task.
MEMORY = {
    *("purged_rooms", "blocked_rooms", "scheduled_tasks", "task_items", "task_events", "audit_log"),
    *("event_reports", "room_reports"),
}


@frozen
class Column:
    table: str
    name: str
    type: str


@frozen
class Traces:
    """By what a room can be named, apart from `room_nid`."""

    room: Room
    event_nids: list[int]
    snapshot_nids: list[int]
    event_ids: list[str]


def columns(txn: Transaction) -> list[Column]:
    """Of all tables of ours, but for the list of migrations."""
    rows = txn.rows(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)"
        " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
        " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0"
        " AND NOT a.attisdropped AND c.relname <> 'schema_migrations' ORDER BY 1, a.attnum"
    )
    return [Column(*row) for row in rows]


def traces(txn: Transaction, room: Room) -> Traces:
    events = txn.rows("SELECT event_nid, event_id FROM events WHERE room_nid = %s", (room.nid,))
    snapshots = txn.rows("SELECT snapshot_nid FROM state_snapshots WHERE room_nid = %s", (room.nid,))
    return Traces(room, [nid for nid, _ in events], [nid for (nid,) in snapshots], [i for _, i in events])


def remains(txn: Transaction, gone: Traces) -> dict[str, int]:
    """How many rows still name the room, one of its events or one of its snapshots, by table and column."""
    found = {}
    for column in columns(txn):
        if column.table in MEMORY:
            continue
        condition, arguments = _naming(column, gone)
        if column.table == "stream":
            condition = f"({condition}) AND (kind <> {Kind.ROOM_GONE:d} OR event_nid IS NOT NULL)"
        count = txn.value(f"SELECT count(*) FROM {column.table} WHERE {condition}", arguments)
        if count:
            found[f"{column.table}.{column.name}"] = count
    return found


def contents(txn: Transaction, room: Room) -> dict[str, list[str]]:
    """Every row about a room, as text, by table."""
    tables = {column.table for column in columns(txn) if column.name == "room_nid"}
    found = {
        table: [
            text
            for (text,) in txn.rows(
                f"SELECT t::text FROM {table} t WHERE room_nid = %s ORDER BY 1", (room.nid,)
            )
        ]
        for table in sorted(tables)
    }
    return {table: rows for table, rows in found.items() if rows}


def furnish(txn: Transaction, world: World, room: Room) -> None:
    """Rows about the room in every table that can have some. Alice and Bob are in it."""
    spam = world.message(txn, room, BOB, "spam")
    world.send(txn, room, "m.room.redaction", ALICE, {}, redacts=spam.event.event_id)
    world.send(txn, room, "m.room.name", ALICE, {"name": f"Room {room.nid}"}, state_key="")
    draft = world.draft("m.room.message", BOB, {"body": "once"})
    world.appender.append(
        txn, [Write(room.nid, draft, ClientRequest(f"{BOB} device {room.nid}", "send", "1"))]
    )
    alias_store.add_alias(txn, f"#room{room.nid}:{SERVER}", room.nid, ALICE)
    ephemeral.put_receipt(txn, Receipt(room.nid, BOB, "m.read", "", spam.event.event_id, 1))
    ephemeral.put_receipt(txn, Receipt(room.nid, BOB, "m.read", spam.event.event_id, "$other", 1))
    ephemeral.set_typing(txn, room.nid, ALICE, world.clock.now_ms() + 10**9, world.clock.now_ms())
    for user_id in (ALICE, BOB):
        account_data.put_account_data(txn, user_id, room.nid, "m.tag", {"tags": {"m.favourite": {}}})
    typing = OutgoingEdu(["far.test"], "m.typing", {"room_id": room.room_id}, room_nid=room.nid)
    outgoing.enqueue(txn, [OutgoingEvent(spam.nid, room.nid, spam.nid, ["far.test"])], [typing])
    txn.execute(
        "INSERT INTO destination_rooms VALUES ('far.test', %s, 1, 2, %s, 2, ARRAY[%s::bigint])",
        (room.nid, spam.nid, spam.nid),
    )
    txn.execute("INSERT INTO stripped_state VALUES (%s, %s, 'other.test', '[]')", (room.nid, BOB))
    txn.execute(
        "INSERT INTO passed_over VALUES ('search', 0, %s, %s, %s, 'KeyError', 1)",
        (room.nid, room.nid, spam.event.event_id),
    )
    txn.execute("INSERT INTO room_gaps VALUES (%s, '$missing', %s, 1)", (room.nid, spam.nid))
    txn.execute(
        "INSERT INTO snapshot_candidates SELECT room_nid, 'cancelled', snapshot_nid FROM rooms WHERE room_nid = %s",
        (room.nid,),
    )


def _naming(column: Column, gone: Traces) -> tuple[str, list[Any]]:
    """A condition: the column names the room, or a part of it."""
    name = column.name
    if name == "room_nid":
        return "room_nid = %s", [gone.room.nid]
    if column.type == "bigint" and name != "position" and "nid" in name:
        nids = gone.snapshot_nids if name in _SNAPSHOT_COLUMNS else gone.event_nids
        return (f"{name} = ANY(%s)", [nids]) if name not in _OTHER_NIDS else ("FALSE", [])
    if column.type == "bigint[]":
        return f"{name} && %s::bigint[]", [gone.event_nids if name != "key_nids" else []]
    if column.type in {"text", "json"}:
        texts = [gone.room.room_id, *gone.event_ids]
        return f"EXISTS (SELECT FROM unnest(%s::text[]) AS x WHERE strpos({name}::text, x) > 0)", [texts]
    return "FALSE", []


_SNAPSHOT_COLUMNS = {"snapshot_nid", "base_nid", "before_nid", "after_nid", "point_nid"}
_OTHER_NIDS = {"token_nid", "filter_nid", "state_key_nid"}
