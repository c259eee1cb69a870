"""Requests of clients that sent events: a retry finds the event that it already sent."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import frozen

from synapse_lite.storage.database import Transaction


@frozen
class ClientRequest:
    """A session of a user, and what it said to tell the request from its others.

    Transaction ids are unique for an endpoint only (client-server API, "Transaction identifiers").
    """

    session: str
    endpoint: str
    txn_id: str


def client_of(request: ClientRequest | None) -> tuple[str | None, str | None]:
    """Session and transaction id of who sent something."""
    return (None, None) if request is None else (request.session, request.txn_id)


SentRequest = tuple[int, ClientRequest]
"""A room nid, and the request to send something there."""

FoundRequests = dict[SentRequest, tuple[int, str | None]]
"""The event nid of each request that was served, and, of an event that is purged, its id."""

FIND_WITHIN = (
    "(SELECT json_agg(found) FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[])"
    " AS w (session, room_nid, endpoint, txn_id) CROSS JOIN LATERAL ("
    " SELECT t.room_nid, t.session, t.endpoint, t.txn_id, t.event_nid, t.event_id FROM event_transactions t"
    " WHERE (t.session, t.room_nid, t.endpoint, t.txn_id) = (w.session, w.room_nid, w.endpoint, w.txn_id)"
    " OFFSET 0) AS found)"
)
"""As a column of another statement: `find_sent` of `columns_of`, for `found_within`."""


def columns_of(requests: Collection[SentRequest]) -> tuple[list[str], list[int], list[str], list[str]]:
    return (
        [one.session for _, one in requests],
        [room_nid for room_nid, _ in requests],
        [one.endpoint for _, one in requests],
        [one.txn_id for _, one in requests],
    )


def found_within(found: Sequence[Mapping[str, Any]] | None) -> FoundRequests:
    rows = found or ()
    return {
        (row["room_nid"], ClientRequest(row["session"], row["endpoint"], row["txn_id"])): (
            row["event_nid"],
            row["event_id"],
        )
        for row in rows
    }


def find_sent(txn: Transaction, requests: Collection[SentRequest]) -> FoundRequests:
    rows = txn.fetch_values(
        "SELECT t.room_nid, t.session, t.endpoint, t.txn_id, t.event_nid, t.event_id"
        " FROM (VALUES %s) AS w (room_nid, session, endpoint, txn_id)"
        " JOIN event_transactions t USING (session, room_nid, endpoint, txn_id)",
        [(room_nid, one.session, one.endpoint, one.txn_id) for room_nid, one in requests],
    )
    return {
        (room_nid, ClientRequest(session, endpoint, txn_id)): (event_nid, event_id)
        for room_nid, session, endpoint, txn_id, event_nid, event_id in rows
    }


def insert_sent(txn: Transaction, requests: Collection[tuple[SentRequest, int]], now_ms: int) -> None:
    """The requests, each with the nid of its event."""
    if requests:
        txn.insert(
            "INSERT INTO event_transactions (session, room_nid, endpoint, txn_id, event_nid, created_ts) VALUES %s",
            [
                (one.session, room_nid, one.endpoint, one.txn_id, event_nid, now_ms)
                for (room_nid, one), event_nid in requests
            ],
        )


def keep_event_ids(txn: Transaction, event_nids: Collection[int]) -> None:
    """Before events are purged: a retry of the request is answered all the same."""
    txn.execute(
        "UPDATE event_transactions t SET event_id = e.event_id FROM events e"
        " WHERE t.event_nid = ANY(%s) AND e.event_nid = t.event_nid",
        (list(event_nids),),
    )
