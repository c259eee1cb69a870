"""Handing out what is to be sent to other servers, and what became of it.

One transaction serves all servers at once: it takes the answers of some, and gives the next transactions
of these and of others. Whatever is handed out is written down first, so that it is sent with the same id again.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum

from attrs import field, frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.outgoing import miss, overfull

MAX_EVENTS = 50
MAX_EDUS = 100
MAX_EDU_BYTES = 1024 * 1024
LONG_MS = 60_000
"""A server that is left alone for so long is behind from then on."""


Queued = tuple[int, int]  # position and nid of an event


@frozen
class Outgoing:
    """A transaction. `event_nids` are in order, `edus` are JSON. `is_probe`: the last one failed."""

    server_name: str
    txn_id: str
    ts: int
    event_nids: Sequence[int]
    edus: Sequence[str]
    is_probe: bool

    @property
    def size(self) -> int:
        return len(self.event_nids) + len(self.edus)


class Answer(Enum):
    TAKEN = "taken"
    FAILED = "failed"  # no answer, or one that says nothing about what was sent
    REFUSED = "refused"  # it will never be taken as it is


@frozen
class Outcome:
    outgoing: Outgoing
    answer: Answer


@frozen
class Backoff:
    """How long a server is left alone after a failure, by how long it was before (milliseconds)."""

    shortest: int
    longest: int
    factor: float

    def after(self, interval: int) -> int:
        return int(min(max(interval * self.factor, self.shortest), self.longest))


@frozen
class Sender:
    """Who asks. `lease_seconds` is how long others leave alone what it has, without `renew`."""

    owner: str
    lease_seconds: float
    backoff: Backoff
    jitter: float = field(default=0.0)  # a share of the interval, from 0 to 1


def renew(txn: Transaction, sender: Sender, servers: Collection[str]) -> None:
    txn.execute(
        "UPDATE destinations SET leased_until = clock_timestamp() + %s * interval '1 second'"
        " WHERE server_name IN (SELECT server_name FROM destinations WHERE server_name = ANY(%s) AND owner = %s"
        " ORDER BY server_name FOR UPDATE)",
        (sender.lease_seconds, list(servers), sender.owner),
    )


def give_back(txn: Transaction, sender: Sender) -> None:
    """Others may have at once what the sender had."""
    txn.execute(
        "UPDATE destinations SET owner = NULL, leased_until = '-infinity' WHERE owner = %s", (sender.owner,)
    )


def next_due(txn: Transaction, now_ms: int) -> bool:
    """Whether there may be a server that nobody has, and whose time has come."""
    row = txn.row(
        "SELECT FROM destinations WHERE pending AND retry_at <= %s AND leased_until < clock_timestamp() LIMIT 1",
        (now_ms,),
    )
    return row is not None


def turn(
    txn: Transaction, sender: Sender, outcomes: Sequence[Outcome], free: int, probes: int, now_ms: int
) -> list[Outgoing]:
    """Write the outcomes down; the next transactions, of the servers that answered and of others.

    `free` and `probes` are how many others: such as were well, and such as failed the last time.
    """
    going_on = _settle(txn, sender, outcomes, now_ms)
    claimed = _claim(txn, sender, now_ms, free, failing=False) if free > 0 else []
    claimed += _claim(txn, sender, now_ms, probes, failing=True) if probes > 0 else []
    return _prepare(txn, sender, [*going_on, *claimed], now_ms)


def _settle(txn: Transaction, sender: Sender, outcomes: Sequence[Outcome], now_ms: int) -> list[str]:
    """Those servers whose next transaction may follow."""
    if not outcomes:
        return []
    by_server = {one.outgoing.server_name: one for one in outcomes}
    held = txn.rows(
        "SELECT server_name, txn_id, retry_interval FROM destinations WHERE server_name = ANY(%s) AND owner = %s"
        " ORDER BY server_name FOR UPDATE",
        (list(by_server), sender.owner),
    )
    of: dict[Answer, list[str]] = {answer: [] for answer in Answer}
    intervals: dict[str, int] = {}
    for name, txn_id, interval in held:
        one = by_server[name]
        if one.outgoing.txn_id == txn_id:
            of[one.answer].append(name)
            intervals[name] = interval
    _take(txn, of[Answer.TAKEN], now_ms)
    full = [name for name in of[Answer.TAKEN] if len(by_server[name].outgoing.event_nids) >= MAX_EVENTS]
    slow = overfull(txn, full) if full else []
    if slow:
        miss(txn, slow)
    _refuse(txn, [by_server[name].outgoing for name in of[Answer.REFUSED]])
    _fail(txn, sender, {name: intervals[name] for name in of[Answer.FAILED]}, now_ms)
    return [*of[Answer.TAKEN], *of[Answer.REFUSED]]


def _take(txn: Transaction, servers: Sequence[str], now_ms: int) -> None:
    """What was on its way has arrived."""
    if not servers:
        return
    names = list(servers)
    txn.later(
        "WITH gone AS (DELETE FROM outgoing_events o USING destinations d WHERE d.server_name = ANY(%s)"
        "  AND o.server_name = d.server_name AND o.position <= d.txn_position"
        "  RETURNING o.server_name, o.room_nid, o.position)"
        " INSERT INTO destination_rooms AS r (server_name, room_nid, sent_position)"
        " SELECT server_name, room_nid, max(position) FROM gone GROUP BY server_name, room_nid"
        " ON CONFLICT (room_nid, server_name) DO UPDATE SET sent_position = excluded.sent_position",
        (names,),
    )
    txn.later(
        "DELETE FROM outgoing_edus o USING destinations d WHERE d.server_name = ANY(%s)"
        " AND o.server_name = d.server_name AND o.edu <= d.txn_edu",
        (names,),
    )
    txn.later(
        "UPDATE destination_rooms SET sent_position = catching_position,"
        " missed_position = CASE WHEN missed_position > catching_position THEN missed_position END,"
        " missed_nid = CASE WHEN missed_position > catching_position THEN missed_nid END,"
        " catching_position = NULL, catching_nids = NULL"
        " WHERE server_name = ANY(%s) AND catching_nids IS NOT NULL",
        (names,),
    )
    txn.later(
        "UPDATE destinations SET txn_id = NULL, failing_since = NULL,"
        " retry_interval = 0, retry_at = 0, at_most = NULL, attempted_ts = %s,"
        " sent_position = nullif(greatest(coalesce(sent_position, 0), txn_position), 0)"
        " WHERE server_name = ANY(%s)",
        (now_ms, names),
    )


def _refuse(txn: Transaction, refused: Sequence[Outgoing]) -> None:
    """Try with half of it, under another id; what is refused alone is dropped."""
    alone = [one.server_name for one in refused if one.size <= 1]
    if alone:
        _drop(txn, alone)
    halves = {one.server_name: one.size // 2 for one in refused if one.size > 1}
    txn.later(
        "UPDATE destination_rooms SET catching_position = NULL, catching_nids = NULL"
        " WHERE server_name = ANY(%s) AND catching_nids IS NOT NULL",
        (list(halves),),
    )
    txn.later(
        "UPDATE destinations d SET at_most = h.at_most, txn_id = NULL"
        " FROM unnest(%s::text[], %s::int[]) AS h (server_name, at_most) WHERE d.server_name = h.server_name",
        (list(halves), list(halves.values())),
    )


def _drop(txn: Transaction, servers: Sequence[str]) -> None:
    """What was on its way is given up."""
    names = list(servers)
    for table, number, upto in (
        ("outgoing_events", "position", "txn_position"),
        ("outgoing_edus", "edu", "txn_edu"),
    ):
        txn.later(
            f"DELETE FROM {table} o USING destinations d WHERE d.server_name = ANY(%s)"
            f" AND o.server_name = d.server_name AND o.{number} <= d.{upto}",
            (names,),
        )
    txn.later(
        "UPDATE destination_rooms SET missed_position = NULL, missed_nid = NULL, catching_position = NULL,"
        " catching_nids = NULL WHERE server_name = ANY(%s) AND catching_nids IS NOT NULL",
        (names,),
    )
    txn.later("UPDATE destinations SET txn_id = NULL WHERE server_name = ANY(%s)", (names,))


def _fail(txn: Transaction, sender: Sender, intervals: Mapping[str, int], now_ms: int) -> None:
    """Leave these alone for a while; those that have been for long, fall behind."""
    if not intervals:
        return
    longer = {name: sender.backoff.after(interval) for name, interval in intervals.items()}
    txn.later(
        "UPDATE destinations d SET failing_since = coalesce(failing_since, %s), attempted_ts = %s,"
        " retry_interval = f.interval, retry_at = %s + (f.interval * %s)::bigint,"
        " owner = NULL, leased_until = '-infinity'"
        " FROM unnest(%s::text[], %s::bigint[]) AS f (server_name, interval) WHERE d.server_name = f.server_name",
        (now_ms, now_ms, now_ms, 1 - sender.jitter, list(longer), list(longer.values())),
    )
    away = [name for name, interval in longer.items() if interval >= LONG_MS]
    if away:
        miss(txn, away)


def _claim(txn: Transaction, sender: Sender, now_ms: int, limit: int, *, failing: bool) -> list[str]:
    rows = txn.rows(
        "UPDATE destinations SET owner = %s, leased_until = clock_timestamp() + %s * interval '1 second'"
        " WHERE server_name IN (SELECT server_name FROM destinations WHERE pending AND retry_at <= %s"
        f" AND leased_until < clock_timestamp() AND failing_since IS {'NOT ' if failing else ''}NULL"
        " ORDER BY retry_at LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING server_name",
        (sender.owner, sender.lease_seconds, now_ms, limit),
    )
    return [name for (name,) in rows]


# What is next


@frozen
class _State:
    """The row of a server that is ours, and locked."""

    server_name: str
    behind: bool
    at_most: int | None
    txn_id: str | None
    txn_ts: int | None
    nids: Sequence[int] | None
    position: int
    edu: int
    is_failing: bool


def _prepare(txn: Transaction, sender: Sender, servers: Sequence[str], now_ms: int) -> list[Outgoing]:
    if not servers:
        return []
    states = [
        _State(*row)
        for row in txn.rows(
            "SELECT server_name, behind, at_most, txn_id, txn_ts, (SELECT catching_nids FROM destination_rooms r"
            "  WHERE r.server_name = d.server_name AND catching_nids IS NOT NULL), txn_position, txn_edu,"
            " failing_since IS NOT NULL"
            " FROM destinations d WHERE server_name = ANY(%s) AND owner = %s ORDER BY server_name FOR UPDATE",
            (list(servers), sender.owner),
        )
    ]
    events, edus = _read_events(txn, states), _read_edus(txn, states)
    fresh = [one for one in states if one.txn_id is None]
    caught_up = _catch_up(txn, [one for one in fresh if one.behind])
    numbers = txn.rows("SELECT nextval('federation_transactions') FROM generate_series(1, %s)", (len(fresh),))
    prepared = []
    for state in states:
        name = state.server_name
        if state.txn_id is not None and state.txn_ts is not None:
            nids = state.nids if state.nids is not None else [nid for _, nid in events.get(name, ())]
            jsons = [json for _, json in edus.get(name, ())]
            prepared.append(Outgoing(name, state.txn_id, state.txn_ts, nids, jsons, state.is_failing))
            continue
        # Also another one where a database was restored to the day before.
        txn_id = f"{now_ms}-{numbers.pop()[0]}"
        room = caught_up.get(name)
        one = _freeze(txn, state, events.get(name, []), edus.get(name, []), room, txn_id, now_ms)
        if one is not None:
            prepared.append(one)
    return prepared


@frozen
class _Room:
    """A room to catch up with: its events for the server, and the position up to which it then has caught up."""

    room_nid: int
    position: int
    nids: Sequence[int]


def _freeze(
    txn: Transaction, state: _State, events: Sequence[Queued], edus: Sequence[tuple[int, str]],
    room: _Room | None, txn_id: str, now_ms: int,
) -> Outgoing | None:  # fmt: skip
    """Write the next transaction down; None where there is nothing: then the server is given back."""
    name, is_behind = state.server_name, state.behind and bool(events or room)
    if events:
        room = None  # what was queued before goes first
    elif room is not None:
        events = [(room.position, nid) for nid in room.nids]
    elif not edus:
        txn.later(
            "UPDATE destinations SET pending = FALSE, behind = FALSE, owner = NULL, leased_until = '-infinity'"
            " WHERE server_name = %s",
            (name,),
        )
        return None
    edus = edus[: _room_for_edus(state, len(events))]
    txn.insert_row(
        "UPDATE destinations d SET txn_id = v.txn_id, txn_ts = v.txn_ts, behind = v.behind, txn_position = v.position,"
        " txn_edu = v.edu FROM (VALUES %s) AS v (server_name, txn_id, txn_ts, behind, position, edu)"
        " WHERE d.server_name = v.server_name",
        (name, txn_id, now_ms, is_behind, events[-1][0] if events else 0, edus[-1][0] if edus else 0),
    )
    if room is not None:
        txn.later(
            "UPDATE destination_rooms SET catching_position = %s, catching_nids = %s"
            " WHERE room_nid = %s AND server_name = %s",
            (room.position, list(room.nids), room.room_nid, name),
        )
    return Outgoing(
        name, txn_id, now_ms, [nid for _, nid in events], [json for _, json in edus], state.is_failing
    )


def _room_for_edus(state: _State, events: int) -> int:
    return MAX_EDUS if state.at_most is None else max(state.at_most - events, 0)


def _read_events(txn: Transaction, states: Sequence[_State]) -> dict[str, list[Queued]]:
    """Those that are next, by server."""
    found: dict[str, list[Queued]] = {}
    queued = [one for one in states if one.nids is None]
    for name, position, nid in txn.rows(
        "SELECT d.server_name, e.position, e.event_nid FROM unnest(%s::text[], %s::bigint[], %s::int[])"
        " AS d (server_name, upto, at_most) CROSS JOIN LATERAL (SELECT position, event_nid FROM outgoing_events o"
        "  WHERE o.server_name = d.server_name AND o.position <= d.upto ORDER BY position LIMIT d.at_most) AS e",
        (
            [one.server_name for one in queued],
            [2**63 - 1 if one.txn_id is None else one.position for one in queued],
            [min(MAX_EVENTS, one.at_most or MAX_EVENTS) for one in queued],
        ),
    ):
        found.setdefault(name, []).append((position, nid))
    return found


def _read_edus(txn: Transaction, states: Sequence[_State]) -> dict[str, list[tuple[int, str]]]:
    """(number, JSON), as far as they fit."""
    found: dict[str, list[tuple[int, str]]] = {}
    sizes: dict[str, int] = {}
    for name, number, json in txn.rows(
        "SELECT d.server_name, e.edu, e.json FROM unnest(%s::text[], %s::bigint[], %s::int[])"
        " AS d (server_name, upto, at_most) CROSS JOIN LATERAL (SELECT edu, json FROM outgoing_edus o"
        "  WHERE o.server_name = d.server_name AND o.edu <= d.upto ORDER BY edu LIMIT d.at_most) AS e",
        (
            [one.server_name for one in states],
            [2**63 - 1 if one.txn_id is None else one.edu for one in states],
            [min(MAX_EDUS, one.at_most or MAX_EDUS) for one in states],
        ),
    ):
        sizes[name] = sizes.get(name, 0) + len(json)
        if sizes[name] <= MAX_EDU_BYTES or name not in found:
            found.setdefault(name, []).append((number, json))
    return found


def _catch_up(txn: Transaction, behind: Sequence[_State]) -> dict[str, _Room]:
    """The room that waits longest, by server.

    Who is in the room gets its newest events, whoever sent them: what it lacks it asks for. Who is not any more
    gets the last one that was for it.
    """
    at_most = {one.server_name: one.at_most for one in behind}
    rows = txn.rows(
        "SELECT d.server_name, r.room_nid, r.missed_position, r.missed_nid, m.tips"
        " FROM unnest(%s::text[]) AS d (server_name) CROSS JOIN LATERAL ("
        "  SELECT room_nid, missed_position, missed_nid FROM destination_rooms q"
        "  WHERE q.server_name = d.server_name AND missed_position IS NOT NULL ORDER BY missed_position LIMIT 1) AS r"
        " LEFT JOIN LATERAL (SELECT extremities AS tips FROM rooms WHERE room_nid = r.room_nid AND EXISTS ("
        "  SELECT FROM memberships i WHERE i.room_nid = r.room_nid AND i.server_name = d.server_name"
        "  AND i.membership = 'join')) AS m ON TRUE",
        (list(at_most),),
    )
    return {
        name: _Room(room_nid, position, (tips or [nid])[: at_most[name] or MAX_EVENTS])
        for name, room_nid, position, nid, tips in rows
    }
