"""Pushers, and the queue of what is to be pushed to them."""

from collections.abc import Collection, Mapping, Sequence

import attrs
import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.account_data import GLOBAL
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.statements import Row

HTTP = "http"
CLAIM_MS = 120_000
MAX_AGE_MS = 24 * 60 * 60 * 1000
"""What is older is pushed to nobody."""

PusherKey = tuple[str, str, str]
"""App, key and user."""


@attrs.frozen
class Pusher:
    """As its client set it. `device_id` None: it lives as long as the account."""

    user_id: str
    app_id: str
    pushkey: str
    kind: str
    app_display_name: str
    device_display_name: str
    profile_tag: str | None
    lang: str
    data: JsonObject
    device_id: str | None = None
    enabled: bool = True


@attrs.frozen
class ClaimedPusher:
    """A pusher with work to do. `pushed_upto` is a position, `badge` the number that it was told last."""

    pusher: Pusher
    created_ts: int
    version: int
    pushed_upto: int
    badge: int
    work: int
    attempt: int

    @property
    def key(self) -> PusherKey:
        return self.pusher.app_id, self.pusher.pushkey, self.pusher.user_id


@attrs.frozen
class Progress:
    """How far a claimed pusher came: up to a position, and the badge that it told. `is_done`: that was all."""

    claimed: ClaimedPusher
    pushed_upto: int
    badge: int
    is_done: bool


@attrs.frozen
class Queued:
    """An event of which a user is to be notified."""

    user_id: str
    position: int
    room_nid: int
    event_nid: int
    thread_id: str
    tweaks: Mapping[str, object]
    queued_ts: int


@attrs.frozen
class Invite:
    """A room into which a user may come, and who says so."""

    room_nid: int
    sender: str
    is_forgotten: bool


_PUSHES = "kind = 'http' AND enabled"
# Who writes several rows locks them in one order: else two would wait for each other.
_IN_ORDER = "ORDER BY app_id, pushkey, user_id FOR NO KEY UPDATE"
_COLUMNS = "user_id, app_id, pushkey, kind, app_display_name, device_display_name, profile_tag, lang, data, device_id, enabled"


def put_pusher(txn: Transaction, pusher: Pusher, now_ms: int, *, only: bool) -> None:
    """Create it, or replace the user's with the same key. `only`: other users' with that key go."""
    if only:
        # Two users who take the same key at the same moment would not see each other's.
        txn.execute(
            "SELECT pg_advisory_xact_lock(hashtext(%s), hashtext(%s))", (pusher.app_id, pusher.pushkey)
        )
        txn.execute(
            "DELETE FROM pushers WHERE app_id = %s AND pushkey = %s AND user_id <> %s",
            (pusher.app_id, pusher.pushkey, pusher.user_id),
        )
    row = attrs.astuple(attrs.evolve(pusher, data={}))
    txn.execute(
        f"INSERT INTO pushers AS p ({_COLUMNS}, created_ts, pushed_upto) SELECT %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
        " %s, position FROM stream_position ON CONFLICT (app_id, pushkey, user_id) DO UPDATE SET"
        " (kind, app_display_name, device_display_name, profile_tag, lang, data, device_id, enabled, created_ts, pushed_upto, version)"
        " = (excluded.kind, excluded.app_display_name, excluded.device_display_name, excluded.profile_tag,"
        " excluded.lang, excluded.data, excluded.device_id, excluded.enabled, excluded.created_ts,"
        " CASE WHEN p.enabled THEN p.pushed_upto ELSE excluded.pushed_upto END, nextval('pusher_versions')),"
        " attempt = 0, run_at = 0",
        (*row[:8], orjson.dumps(pusher.data).decode(), pusher.device_id, pusher.enabled, now_ms),
    )


def count_pushers(txn: Transaction, user_id: str) -> int:
    """Of the user's. Until the transaction ends nobody else counts them."""
    txn.execute("SELECT 1 FROM users WHERE user_id = %s FOR NO KEY UPDATE", (user_id,))
    return int(txn.value("SELECT count(*) FROM pushers WHERE user_id = %s", (user_id,)))


def delete_pusher(txn: Transaction, user_id: str, app_id: str, pushkey: str) -> None:
    txn.execute(
        "DELETE FROM pushers WHERE app_id = %s AND pushkey = %s AND user_id = %s", (app_id, pushkey, user_id)
    )


def read_pushers(txn: Transaction, user_id: str) -> list[Pusher]:
    """The oldest first."""
    rows = txn.rows(
        f"SELECT {_COLUMNS} FROM pushers WHERE user_id = %s ORDER BY created_ts, app_id, pushkey", (user_id,)
    )
    return [_pusher(row) for row in rows]


# What the follower writes


def pushed_members(txn: Transaction, room_nids: Collection[int]) -> dict[int, dict[str, int]]:
    """Who of the joined members has a pusher, by room, and up to where all of theirs have pushed."""
    found: dict[int, dict[str, int]] = {}
    for room_nid, user_id, upto in txn.rows(
        "SELECT m.room_nid, user_id, min(pushed_upto) FROM memberships m JOIN pushers USING (user_id)"
        f" WHERE m.room_nid = ANY(%s) AND m.membership = 'join' AND {_PUSHES} GROUP BY m.room_nid, user_id",
        (list(room_nids),),
    ):
        found.setdefault(room_nid, {})[user_id] = upto
    return found


def with_pushers(txn: Transaction, user_ids: Collection[str]) -> dict[str, int]:
    """Those of the users who have any, and up to where all of theirs have pushed."""
    if not user_ids:
        return {}
    rows = txn.rows(
        f"SELECT user_id, min(pushed_upto) FROM pushers WHERE user_id = ANY(%s) AND {_PUSHES} GROUP BY user_id",
        (list(user_ids),),
    )
    return dict(rows)


def global_data_of(
    txn: Transaction, user_ids: Collection[str], types: Collection[str]
) -> dict[str, dict[str, JsonObject]]:
    """Account data of several users, by user and type; who has none is absent."""
    found: dict[str, dict[str, JsonObject]] = {}
    for user_id, kind, text in txn.rows(
        "SELECT user_id, type, json FROM account_data WHERE user_id = ANY(%s) AND room_nid = %s AND type = ANY(%s)",
        (list(user_ids), GLOBAL, list(types)),
    ):
        found.setdefault(user_id, {})[kind] = orjson.loads(text)
    return found


def enqueue(txn: Transaction, queued: Sequence[Queued]) -> None:
    """Their pushers have work to do at once, unless their gateway is to be left alone for a while."""
    if not queued:
        return
    txn.insert(
        "INSERT INTO push_queue (user_id, position, room_nid, event_nid, thread_id, tweaks, queued_ts) VALUES %s"
        " ON CONFLICT DO NOTHING",
        [
            (
                one.user_id, one.position, one.room_nid, one.event_nid, one.thread_id,
                orjson.dumps(one.tweaks).decode(), one.queued_ts,
            )
            for one in queued
        ],
    )  # fmt: skip
    users = sorted({one.user_id for one in queued})
    txn.later(f"SELECT FROM pushers WHERE user_id = ANY(%s) AND {_PUSHES} {_IN_ORDER}", (users,))
    txn.execute(
        "UPDATE pushers SET pending = TRUE, work = work + 1, run_at = CASE WHEN attempt = 0 THEN 0 ELSE run_at END"
        f" WHERE user_id = ANY(%s) AND {_PUSHES}",
        (users,),
    )


def look_at_badges(txn: Transaction, user_ids: Collection[str], run_at: int) -> None:
    """These users have read something: their pushers with a badge are looked at, once for all that is read until then."""
    users = sorted(user_ids)
    txn.later(
        f"SELECT FROM pushers WHERE user_id = ANY(%s) AND {_PUSHES} AND badge > 0 {_IN_ORDER}", (users,)
    )
    txn.execute(
        "UPDATE pushers SET work = work + 1, run_at = CASE WHEN pending THEN run_at ELSE %s END, pending = TRUE"
        f" WHERE user_id = ANY(%s) AND {_PUSHES} AND badge > 0",
        (run_at, users),
    )


# What whoever pushes writes


def claim_pushers(txn: Transaction, now_ms: int, limit: int) -> list[ClaimedPusher]:
    """Those whose time has come, those of one user together. Nobody else gets them for `CLAIM_MS`, within which they have to be done."""
    txn.relax()
    rows = txn.rows(
        "UPDATE pushers SET claimed_until = %s WHERE (app_id, pushkey, user_id) IN (SELECT app_id, pushkey, user_id"
        " FROM pushers WHERE pending AND enabled AND run_at <= %s AND claimed_until <= %s ORDER BY run_at, user_id LIMIT %s"
        " FOR UPDATE SKIP LOCKED)"
        f" RETURNING {_COLUMNS}, created_ts, version, pushed_upto, badge, work, attempt",
        (now_ms + CLAIM_MS, now_ms, now_ms, limit),
    )
    return [ClaimedPusher(_pusher(row[:11]), *row[11:]) for row in rows]


def queued_for(txn: Transaction, after: Mapping[str, int]) -> dict[str, list[Queued]]:
    """By user, what is queued after a position of each."""
    found: dict[str, list[Queued]] = {user_id: [] for user_id in after}
    for user_id, position, room_nid, event_nid, thread_id, tweaks, queued_ts in txn.rows(
        "SELECT q.user_id, q.position, room_nid, event_nid, thread_id, tweaks, queued_ts"
        " FROM unnest(%s::text[], %s::bigint[]) AS u (user_id, after)"
        " CROSS JOIN LATERAL (SELECT * FROM push_queue WHERE user_id = u.user_id AND position > u.after OFFSET 0) AS q"
        " ORDER BY q.position",
        (list(after), list(after.values())),
    ):
        found[user_id].append(
            Queued(user_id, position, room_nid, event_nid, thread_id, orjson.loads(tweaks), queued_ts)
        )
    return found


def record(txn: Transaction, progress: Sequence[Progress]) -> set[PusherKey]:
    """Write down what several pushers did; the keys of those that nobody set anew meanwhile, the others stay as they are.

    One that is done has no work any more, unless there is more by now. What no pusher of its user needs goes. If PostgreSQL loses it in a crash, the last moments are pushed again.
    """
    txn.relax()
    keys = [one.claimed.key for one in progress]
    txn.insert(f"SELECT FROM pushers WHERE (app_id, pushkey, user_id) IN (VALUES %s) {_IN_ORDER}", keys)
    rows = txn.fetch_values(
        "UPDATE pushers p SET pushed_upto = told.pushed_upto, badge = told.badge, attempt = 0,"
        " pending = NOT is_done OR p.work <> told.work,"
        " run_at = CASE WHEN is_done AND p.work = told.work THEN 0 ELSE run_at END,"
        " claimed_until = CASE WHEN is_done THEN 0 ELSE claimed_until END"
        " FROM (VALUES %s) AS told (app_id, pushkey, user_id, version, work, pushed_upto, badge, is_done)"
        " WHERE (p.app_id, p.pushkey, p.user_id, p.version)"
        " = (told.app_id, told.pushkey, told.user_id, told.version)"
        " RETURNING p.app_id, p.pushkey, p.user_id",
        [
            (*one.claimed.key, one.claimed.version, one.claimed.work, one.pushed_upto, one.badge, one.is_done)
            for one in progress
        ],
    )
    if done := {one.claimed.pusher.user_id for one in progress if one.is_done}:
        txn.later(
            "DELETE FROM push_queue WHERE (user_id, position) IN (SELECT q.user_id, q.position FROM push_queue q"
            " JOIN (SELECT user_id, min(pushed_upto) AS upto FROM pushers"
            f" WHERE user_id = ANY(%s) AND {_PUSHES} GROUP BY user_id) AS told USING (user_id)"
            " WHERE q.position <= told.upto FOR UPDATE OF q SKIP LOCKED)",
            (sorted(done),),
        )
    return {(app_id, pushkey, user_id) for app_id, pushkey, user_id in rows}


def retry_later(txn: Transaction, claimed: ClaimedPusher, run_at: int) -> None:
    txn.execute(
        f"UPDATE pushers SET attempt = attempt + 1, run_at = %s, claimed_until = 0 WHERE {_IS_SAME}",
        (run_at, *_key(claimed)),
    )


def release(txn: Transaction, claimed: ClaimedPusher) -> None:
    """Somebody else may claim it at once."""
    txn.execute(
        "UPDATE pushers SET claimed_until = 0 WHERE app_id = %s AND pushkey = %s AND user_id = %s",
        claimed.key,
    )


def delete_rejected(txn: Transaction, claimed: ClaimedPusher) -> bool:
    """The gateway does not know its key; False when it was set anew meanwhile."""
    return bool(txn.execute(f"DELETE FROM pushers WHERE {_IS_SAME}", _key(claimed)))


def drop_queued(txn: Transaction, now_ms: int, limit: int) -> int:
    """Forget what nobody pushed within `MAX_AGE_MS`; how many."""
    return txn.execute(
        "DELETE FROM push_queue WHERE (user_id, position) IN"
        " (SELECT user_id, position FROM push_queue WHERE queued_ts < %s LIMIT %s FOR UPDATE SKIP LOCKED)",
        (now_ms - MAX_AGE_MS, limit),
    )


def invites_of(txn: Transaction, user_ids: Collection[str]) -> dict[str, list[Invite]]:
    """By user."""
    found: dict[str, list[Invite]] = {user_id: [] for user_id in user_ids}
    for user_id, *invite in txn.rows(
        "SELECT user_id, room_nid, sender, forgotten FROM memberships"
        " WHERE user_id = ANY(%s) AND membership = 'invite'",
        (list(user_ids),),
    ):
        found[user_id].append(Invite(*invite))
    return found


_IS_SAME = "app_id = %s AND pushkey = %s AND user_id = %s AND version = %s"


def _key(claimed: ClaimedPusher) -> tuple[object, ...]:
    return *claimed.key, claimed.version


def _pusher(row: Row) -> Pusher:
    user_id, app_id, pushkey, kind, app_name, device_name, profile_tag, lang, data, device_id, enabled = row
    return Pusher(
        user_id,
        app_id,
        pushkey,
        kind,
        app_name,
        device_name,
        profile_tag,
        lang,
        orjson.loads(data),
        device_id,
        enabled,
    )
