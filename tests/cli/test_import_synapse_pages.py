"""`import-synapse` reads a large Synapse page by page, and no page costs more than it has."""

from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import psycopg2
import pytest

from synapse_lite.storage.synapse.database import SynapseDatabase
from synapse_lite.storage.synapse.rooms import outliers
from tests.cli.synapse_rooms import ROOM, SCHEMA
from tests.databases import SYNAPSES, new_database

STATE = 2000
INDEXES = (
    "CREATE UNIQUE INDEX ON events (event_id)",
    "CREATE INDEX ON events (room_id, topological_ordering, stream_ordering)",
    "CREATE INDEX ON events (room_id, stream_ordering)",
    "CREATE UNIQUE INDEX ON events (stream_ordering)",
    "CREATE UNIQUE INDEX ON event_json (event_id)",
    "CREATE UNIQUE INDEX ON event_to_state_groups (event_id)",
    "CREATE UNIQUE INDEX ON rejections (event_id)",
)
"""Those of Synapse that pages of events may be read from."""


def fill(arguments: dict[str, Any]) -> None:
    """A room whose state when this server came into it had many members, and what was said since, there and elsewhere."""
    with closing(psycopg2.connect(**arguments)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for table in ("events", "event_json", "rejections", "event_to_state_groups"):
            cursor.execute(f"CREATE TABLE {table} ({SCHEMA[table]})")
        cursor.execute(
            "INSERT INTO events SELECT n, n, '$' || n, CASE WHEN n <= 3 * %s THEN %s ELSE '!' || n / 1000 END, 0, n <= %s"
            " FROM generate_series(1, 40 * %s) AS n",
            (STATE, ROOM, STATE, STATE),
        )
        cursor.execute("INSERT INTO event_json SELECT event_id, repeat('x', 700), '{}' FROM events")
        cursor.execute("INSERT INTO event_to_state_groups SELECT event_id, 1 FROM events WHERE NOT outlier")
        for index in INDEXES:
            cursor.execute(index)
        cursor.execute("ANALYZE")


def test_no_page_reads_the_rest_of_a_room(postgres: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page of outliers sorted each time what was left of all of them."""
    plans: list[str] = []
    rows = SynapseDatabase.rows

    def explained(self: SynapseDatabase, sql: str, values: Any = ()) -> Any:
        plan = rows(self, f"EXPLAIN (ANALYZE, TIMING off) {sql}", values)
        plans.append("\n".join(row["QUERY PLAN"] for row in plan))
        return rows(self, sql, values)

    with new_database(postgres, "synapse", SYNAPSES) as arguments:
        fill(arguments)
        monkeypatch.setattr(SynapseDatabase, "rows", explained)
        with SynapseDatabase.open(f"postgresql:///?{urlencode(arguments)}") as database:
            assert len(list(outliers(database, ROOM))) == STATE
    assert len(plans) > STATE // 500
    assert [plan for plan in plans[:-1] if "Sort" in plan] == []
