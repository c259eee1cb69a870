"""What users told the operators of: events, rooms, users."""

from collections.abc import Mapping
from typing import Any

import orjson
from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.long_lists import LongList, Narrowing, Order, Survey, read_page
from synapse_lite.storage.patterns import has_trigrams


@frozen(eq=False)
class ReportKind:
    """A table of reports `p`: what is shown of each, by name, and by what they are found.

    Columns of `parts` are searched for a part of their text, those of `exact` for the whole.
    """

    table: str
    shown: Mapping[str, str]
    parts: Mapping[str, str]
    exact: Mapping[str, str]
    joins: str = ""

    @property
    def searched(self) -> str:
        """What the index on `parts` is on."""
        return " || E'\\n' || ".join(self.parts.values())


_COMMON = {"id": "p.report_nid", "received_ts": "p.received_ts", "user_id": "p.user_id", "reason": "p.reason"}
_ROOM = {
    "room_id": "p.room_id",
    "name": "coalesce(s.name, p.room_name)",
    "canonical_alias": "coalesce(s.canonical_alias, p.room_alias)",
}
_OF_ROOM = " LEFT JOIN rooms r USING (room_id) LEFT JOIN room_summary s USING (room_nid)"
_PARTS = {"user_id": "p.user_id", "room_id": "p.room_id"}

EVENT_REPORTS = ReportKind(
    "event_reports",
    {**_COMMON, **_ROOM, "event_id": "p.event_id", "score": "p.score", "sender": "p.sender"},
    _PARTS,
    {"event_sender_user_id": "p.sender"},
    _OF_ROOM,
)
ROOM_REPORTS = ReportKind("room_reports", {**_COMMON, **_ROOM}, _PARTS, {}, _OF_ROOM)
USER_REPORTS = ReportKind(
    "user_reports",
    {**_COMMON, "target_user_id": "p.target_user_id"},
    {"user_id": "p.user_id", "target_user_id": "p.target_user_id"},
    {},
)

_BY_NUMBER = Order(("p.report_nid",))


def add_report(txn: Transaction, kind: ReportKind, values: Mapping[str, object]) -> int:
    """Its number; `values` by column."""
    columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
    return int(
        txn.value(
            f"INSERT INTO {kind.table} ({columns}) VALUES ({places}) RETURNING report_nid",
            tuple(values.values()),
        )
    )


def long_list(kind: ReportKind, wanted: Mapping[str, str], *, newest_first: bool) -> LongList:
    """Those that fit `wanted`, by the names of the kind."""
    condition, arguments = _condition(kind, wanted)
    found = [has_trigrams(kind.searched, name, text) for name, text in wanted.items() if name in kind.parts]
    by_index = " AND ".join(one for one in found if one)
    table = f"{kind.table} p"
    narrowing = Narrowing(table, by_index, by_index) if by_index else None
    return LongList(table, condition, _BY_NUMBER.turned(newest_first), arguments, narrowing)


def list_reports(
    txn: Transaction, wanted: LongList, survey: Survey, *, kind: ReportKind, offset: int, limit: int
) -> list[dict[str, Any]]:
    """A page of it, each as the kind shows it."""
    nids = [nid for (nid,) in read_page(txn, "p.report_nid", wanted, survey, offset=offset, limit=limit)]
    rows = txn.rows(
        f"SELECT {_columns(kind)} FROM {_source(kind)} WHERE p.report_nid = ANY(%s)"
        f" ORDER BY {wanted.order.sorting}",
        (nids,),
    )
    return [dict(zip(kind.shown, row, strict=True)) for row in rows]


def read_report(txn: Transaction, kind: ReportKind, nid: int) -> dict[str, Any] | None:
    row = txn.row(f"SELECT {_columns(kind)} FROM {_source(kind)} WHERE p.report_nid = %s", (nid,))
    return None if row is None else dict(zip(kind.shown, row, strict=True))


def reported_event(txn: Transaction, nid: int) -> JsonObject:
    """As it was when it was reported."""
    event: JsonObject = orjson.loads(
        txn.value("SELECT event FROM event_reports WHERE report_nid = %s", (nid,))
    )
    return event


def delete_report(txn: Transaction, kind: ReportKind, nid: int) -> bool:
    """Whether there was one."""
    return bool(txn.execute(f"DELETE FROM {kind.table} WHERE report_nid = %s", (nid,)))


def _columns(kind: ReportKind) -> str:
    return ", ".join(kind.shown.values())


def _source(kind: ReportKind) -> str:
    return f"{kind.table} p{kind.joins}"


def _condition(kind: ReportKind, wanted: Mapping[str, str]) -> tuple[str, dict[str, object]]:
    conditions, arguments = ["TRUE"], dict[str, object]()
    for name, text in wanted.items():
        if name in kind.exact:
            conditions.append(f"{kind.exact[name]} = %({name})s")
        else:
            conditions.append(f"strpos({kind.parts[name]}, %({name})s) > 0")
        arguments[name] = text
    return " AND ".join(conditions), arguments
