"""Who is there: what devices say by way of processes, and what others see of a user.

A process speaks for the devices that it serves, and lives as long as it renews its lease, by the clock of the engine. What a dead one said is
taken back by whoever notices first (`bury_processes`).
"""

from collections.abc import Collection, Iterable, Mapping
from functools import partial

import orjson
from attrs import evolve, frozen

from synapse_lite.matrix.presence import (
    BUSY,
    CHECK_AGAIN_MS,
    OFFLINE,
    ONLINE,
    Claim,
    Presence,
    PresenceTimes,
    combine,
)
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Change, Kind, Position

Device = tuple[str, str]  # user id, device id

_SEEN = "p.user_id, p.state, p.status_msg, p.last_active_ts, p.currently_active"
_IN_ROOMS = (
    "EXISTS (SELECT FROM memberships m WHERE m.user_id = p.user_id AND m.membership = 'join'"
    " AND m.room_nid = ANY(%s))"
)


@frozen
class Said:
    """What a device says from now on."""

    user_id: str
    device_id: str
    state: str

    @property
    def device(self) -> Device:
        return self.user_id, self.device_id


# Processes


def renew_process(txn: Transaction, process: str, lease_ms: int) -> bool:
    """Live for so long from now. False: it was not alive, and nothing that it said counts."""
    return bool(
        txn.value(
            "INSERT INTO presence_processes AS p (process, expires_at) VALUES (%s, now_ms() + %s)"
            " ON CONFLICT (process) DO UPDATE SET expires_at = excluded.expires_at RETURNING xmax <> 0",
            (process, lease_ms),
        )
    )


def is_alive(txn: Transaction, process: str) -> bool:
    """Nobody buries it until the transaction ends."""
    return (
        txn.row("SELECT 1 FROM presence_processes WHERE process = %s FOR KEY SHARE", (process,)) is not None
    )


def bury_processes(txn: Transaction) -> list[str]:
    """Take back what processes said that live no longer; the users of whom they spoke."""
    rows = txn.rows(
        "DELETE FROM presence_processes WHERE process IN (SELECT process FROM presence_processes"
        " WHERE expires_at < now_ms() FOR UPDATE SKIP LOCKED) RETURNING process"
    )
    return _users_of(txn, [process for (process,) in rows])


def remove_process(txn: Transaction, process: str) -> list[str]:
    """It ends; the users of whom it spoke."""
    txn.execute("DELETE FROM presence_processes WHERE process = %s", (process,))
    return _users_of(txn, [process])


def _users_of(txn: Transaction, processes: Collection[str]) -> list[str]:
    """Take back what they said."""
    if not processes:
        return []
    rows = txn.rows(
        "DELETE FROM presence_claims WHERE process = ANY(%s) RETURNING user_id", (list(processes),)
    )
    return sorted({user_id for (user_id,) in rows})


# What devices say

_NOTE = (
    "UPDATE presence_claims c SET active_ts = %s FROM unnest(%s::text[], %s::text[]) AS d (user_id, device_id)"
    " WHERE (c.user_id, c.device_id) = (d.user_id, d.device_id) AND c.active_ts < %s"
)


def say(txn: Transaction, process: str, said: Iterable[Said], now_ms: int) -> None:
    """By asking for news. Whoever becomes online does something by that, but not who goes on through another process.

    Who is busy stays so until they say something else in words: asking for news goes on meanwhile.
    """
    for word in said:
        one = word if _last_word(txn, word.device) != BUSY else evolve(word, state=BUSY)
        txn.later(
            "INSERT INTO presence_claims AS c (process, user_id, device_id, state, active_ts, said_ts)"
            " VALUES (%s, %s, %s, %s, CASE WHEN %s THEN coalesce((SELECT CASE WHEN state = %s THEN active_ts END"
            "  FROM presence_claims WHERE user_id = %s AND device_id = %s ORDER BY said_ts DESC LIMIT 1), %s)"
            "  ELSE 0 END, %s)"
            " ON CONFLICT (user_id, device_id, process) DO UPDATE SET state = excluded.state,"
            " said_ts = excluded.said_ts, active_ts = CASE WHEN c.state = excluded.state THEN c.active_ts"
            "  ELSE greatest(c.active_ts, excluded.active_ts) END",
            (
                process, *one.device, one.state, one.state == ONLINE, ONLINE, *one.device, now_ms, now_ms,
            ),
        )  # fmt: skip


def say_in_words(txn: Transaction, process: str, said: Collection[Said], now_ms: int) -> None:
    """Who says something in words does something, on every process through which the device is there."""
    txn.insert(
        "INSERT INTO presence_claims AS c (process, user_id, device_id, state, active_ts, said_ts) VALUES %s"
        " ON CONFLICT (user_id, device_id, process) DO UPDATE SET state = excluded.state,"
        " said_ts = excluded.said_ts, active_ts = greatest(c.active_ts, excluded.active_ts)",
        [(process, *one.device, one.state, now_ms, now_ms) for one in said],
    )
    txn.later(_NOTE, _noted([one.device for one in said], now_ms))


def _last_word(txn: Transaction, device: Device) -> str | None:
    state: str | None = txn.value(
        "SELECT state FROM presence_claims WHERE user_id = %s AND device_id = %s ORDER BY said_ts DESC LIMIT 1",
        device,
    )
    return state


def note_activity(txn: Transaction, device: Device, now_ms: int) -> bool:
    """The user did something there; False when nothing says that the device is there."""
    return txn.execute(_NOTE, _noted([device], now_ms)) > 0


def _noted(devices: Collection[Device], now_ms: int) -> tuple[object, ...]:
    return now_ms, [user_id for user_id, _ in devices], [device_id for _, device_id in devices], now_ms


def unsay(txn: Transaction, process: str, devices: Collection[Device]) -> None:
    """The process does not serve these devices any more."""
    txn.execute(
        "DELETE FROM presence_claims c USING unnest(%s::text[], %s::text[]) AS d (user_id, device_id)"
        " WHERE c.process = %s AND (c.user_id, c.device_id) = (d.user_id, d.device_id)",
        ([user_id for user_id, _ in devices], [device_id for _, device_id in devices], process),
    )


# What others see


def due_users(txn: Transaction, now_ms: int, limit: int) -> list[str]:
    """Of whom time may have changed something; another process that asks meanwhile gets others."""
    rows = txn.rows(
        "SELECT user_id FROM presence WHERE check_ts <= %s ORDER BY check_ts LIMIT %s FOR UPDATE SKIP LOCKED",
        (now_ms, limit),
    )
    return [user_id for (user_id,) in rows]


def settle(
    txn: Transaction,
    user_ids: Collection[str],
    times: PresenceTimes,
    now_ms: int,
    messages: Mapping[str, str | None] | None = None,
) -> None:
    """Put together what the devices of users say, and let others know what changed. `messages`: new status texts, by user."""
    users = sorted(user_ids)  # in one order, so that no two writers wait for each other
    if not users:
        return
    txn.later(
        "INSERT INTO presence (user_id) SELECT unnest(%s::text[]) ON CONFLICT (user_id) DO NOTHING", (users,)
    )
    for user_id, (known, claims) in _known(txn, users).items():
        after, check_ts = combine(known, claims, times, now_ms)
        if messages and user_id in messages:
            after = evolve(after, status_msg=messages[user_id])
        _write(txn, user_id, known, after, check_ts)


def put_told(txn: Transaction, user_id: str, told: Presence, now_ms: int) -> None:
    """What another server says of its user. It is forgotten when it is not said again."""
    txn.later("INSERT INTO presence (user_id) VALUES (%s) ON CONFLICT (user_id) DO NOTHING", (user_id,))
    check_ts = None if told.state == OFFLINE else now_ms + CHECK_AGAIN_MS
    _lock(txn, [user_id])
    _write(txn, user_id, read_presence(txn, user_id), told, check_ts)


def announce(txn: Transaction, user_ids: Collection[str]) -> None:
    """Tell what is known of these users once more: others have come to share a room with them."""
    if not user_ids:
        return
    rows = txn.rows(
        f"SELECT {_SEEN} FROM presence p WHERE user_id = ANY(%s) AND state <> %s ORDER BY user_id FOR UPDATE",
        (list(user_ids), OFFLINE),
    )
    for user_id, *seen in rows:
        _publish(txn, user_id, Presence(*seen))


def in_any_room(txn: Transaction, user_ids: Collection[str]) -> list[str]:
    """Those of the users who are in a room here, in order."""
    rows = txn.rows(
        "SELECT user_id FROM unnest(%s::text[]) AS u (user_id) WHERE EXISTS (SELECT FROM memberships m"
        " WHERE m.user_id = u.user_id AND m.membership = 'join') ORDER BY user_id",
        (list(user_ids),),
    )
    return [user_id for (user_id,) in rows]


def read_presence(txn: Transaction, user_id: str) -> Presence:
    return _by_user(txn.rows(f"SELECT {_SEEN} FROM presence p WHERE user_id = %s", (user_id,))).get(
        user_id, Presence()
    )


def changed_presence(
    txn: Transaction, user_id: str, room_nids: Collection[int], after: int, upto: int, limit: int
) -> list[tuple[str, Presence, int]]:
    """(user, presence, position) of changes in (after, upto] of the user, and of those in these rooms: the newest `limit`."""
    rows = txn.rows(
        f"SELECT {_SEEN}, p.position FROM presence p WHERE p.position > %s AND p.position <= %s"
        f" AND (p.user_id = %s OR {_IN_ROOMS}) ORDER BY p.position DESC LIMIT %s",
        (after, upto, user_id, list(room_nids), limit),
    )
    return [(row[0], Presence(*row[1:5]), row[5]) for row in rows]


def presence_in(
    txn: Transaction, user_id: str, room_nids: Collection[int], limit: int, *, with_offline: bool
) -> dict[str, Presence]:
    """Of the user, and of those in these rooms who are there: at most `limit`, who was active last."""
    there = "TRUE" if with_offline else "p.state <> 'offline'"
    return _by_user(
        txn.rows(
            f"SELECT {_SEEN} FROM presence p WHERE p.user_id = %s UNION ALL (SELECT {_SEEN} FROM presence p"
            f" WHERE {there} AND p.user_id <> %s AND {_IN_ROOMS} ORDER BY p.last_active_ts DESC LIMIT %s)",
            (user_id, user_id, list(room_nids), limit),
        )
    )


def presence_told(change: Change) -> Presence:
    """What a change of it says."""
    return Presence(*orjson.loads(change.content or "[]"))


def _lock(txn: Transaction, users: Collection[str]) -> None:
    txn.later("SELECT FROM presence WHERE user_id = ANY(%s) ORDER BY user_id FOR UPDATE", (list(users),))


def _known(txn: Transaction, users: Collection[str]) -> dict[str, tuple[Presence, list[Claim]]]:
    """What others see of the users, and what their devices say: as it is once nobody else writes it any more."""
    _lock(txn, users)
    found: dict[str, tuple[Presence, list[Claim]]] = {}
    for user_id, *seen, state, active_ts in txn.rows(
        f"SELECT {_SEEN}, c.state, c.active_ts FROM presence p LEFT JOIN LATERAL ("
        " SELECT DISTINCT ON (device_id) state, max(active_ts) OVER (PARTITION BY device_id) AS active_ts"
        " FROM presence_claims WHERE user_id = p.user_id ORDER BY device_id, said_ts DESC) AS c ON TRUE"
        " WHERE p.user_id = ANY(%s) ORDER BY p.user_id",
        (list(users),),
    ):
        _, claims = found.setdefault(user_id, (Presence(*seen), []))
        if state is not None:
            claims.append(Claim(state, active_ts))
    return found


def _by_user(rows: Iterable[tuple[object, ...]]) -> dict[str, Presence]:
    return {str(row[0]): Presence(*row[1:]) for row in rows}  # type: ignore[arg-type]


def _write(txn: Transaction, user_id: str, before: Presence, after: Presence, check_ts: int | None) -> None:
    txn.insert_row(
        "UPDATE presence p SET state = v.state, status_msg = v.status_msg, last_active_ts = v.last_active_ts,"
        " currently_active = v.currently_active, check_ts = v.check_ts::bigint"
        " FROM (VALUES %s) AS v (user_id, state, status_msg, last_active_ts, currently_active, check_ts)"
        " WHERE p.user_id = v.user_id",
        (user_id, after.state, after.status_msg, after.last_active_ts, after.currently_active, check_ts),
    )
    if (before.state, before.status_msg, before.currently_active) != (
        after.state, after.status_msg, after.currently_active,
    ):  # fmt: skip
        _publish(txn, user_id, after)


def _publish(txn: Transaction, user_id: str, presence: Presence) -> None:
    content = [presence.state, presence.status_msg, presence.last_active_ts, presence.currently_active]
    txn.publish(
        Kind.PRESENCE,
        user_id=user_id,
        content=orjson.dumps(content).decode(),
        at_position=partial(_put_position, user_id),
    )


def _put_position(user_id: str, txn: Transaction, position: Position) -> None:
    txn.insert_row(
        "UPDATE presence p SET position = v.position FROM (SELECT user_id, max(position) AS position"
        " FROM (VALUES %s) AS told (user_id, position) GROUP BY user_id) AS v WHERE p.user_id = v.user_id",
        (user_id, position),
    )
