"""The audit trail: who changed what, from where, and what came of it."""

from typing import Any

from attrs import astuple, frozen

from synapse_lite.storage.database import Transaction


@frozen
class Change:
    """What an administrator asks for. `request` is JSON text."""

    ts: int
    user_id: str
    ip: str
    user_agent: str
    method: str
    path: str
    request: str


@frozen
class AuditEntry:
    """A change, and what came of it: None while it is being done, and for ever when the process died over it."""

    nid: int
    change: Change
    finished_ts: int | None
    status: int | None
    response: str | None


@frozen
class AuditFilter:
    """None means any; times are inclusive."""

    user_id: str | None = None
    since_ts: int | None = None
    until_ts: int | None = None


def record_change(txn: Transaction, change: Change) -> int:
    """Its number; what came of it is told by `finish_change`."""
    return int(
        txn.value(
            "INSERT INTO audit_log (ts, user_id, ip, user_agent, method, path, request)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING audit_nid",
            astuple(change),
        )
    )


def finish_change(txn: Transaction, nid: int, finished_ts: int, status: int, response: str | None) -> None:
    txn.execute(
        "UPDATE audit_log SET finished_ts = %s, status = %s, response = %s WHERE audit_nid = %s",
        (finished_ts, status, response, nid),
    )


def read_audit_log(
    txn: Transaction, wanted: AuditFilter, *, after_nid: int | None, limit: int, newest_first: bool
) -> list[AuditEntry]:
    """A page in the order of the requests, behind the entry `after_nid`; nothing when that is forgotten by now."""
    conditions, arguments = ["TRUE"], dict[str, Any](limit=limit)
    for name, condition in (("user_id", "user_id ="), ("since_ts", "ts >="), ("until_ts", "ts <=")):
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(f"{condition} %({name})s")
            arguments[name] = value
    if after_nid is not None:
        conditions.append(f"(ts, audit_nid) {'<' if newest_first else '>'} (%(after_ts)s, %(after_nid)s)")
        arguments["after_nid"] = after_nid
        arguments["after_ts"] = txn.value("SELECT ts FROM audit_log WHERE audit_nid = %s", (after_nid,))
    direction = "DESC" if newest_first else "ASC"
    rows = txn.rows(
        "SELECT audit_nid, ts, user_id, ip, user_agent, method, path, request, finished_ts, status, response"
        f" FROM audit_log WHERE {' AND '.join(conditions)}"
        f" ORDER BY ts {direction}, audit_nid {direction} LIMIT %(limit)s",
        arguments,
    )
    return [AuditEntry(row[0], Change(*row[1:8]), *row[8:]) for row in rows]


def delete_old_changes(txn: Transaction, before_ts: int, limit: int) -> int:
    """Those from before that time; how many, at most `limit`."""
    return txn.execute(
        "DELETE FROM audit_log WHERE audit_nid IN (SELECT audit_nid FROM audit_log"
        " WHERE ts < %s ORDER BY ts LIMIT %s FOR UPDATE SKIP LOCKED)",
        (before_ts, limit),
    )
