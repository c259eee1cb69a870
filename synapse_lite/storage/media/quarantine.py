"""What is not shown: one media, all media with the same bytes, and the list of every change."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media.told import Mxc, tell


@frozen
class QuarantineChange:
    position: int
    origin: str
    media_id: str
    quarantined: bool


@frozen
class Reason:
    """Who changes the quarantine and why: `cause` is an endpoint, a task, or what the server saw itself."""

    actor: str
    cause: str
    now_ms: int


SAME_BYTES = "same bytes"
SYSTEM = "system"


def quarantine(txn: Transaction, media: Sequence[Mxc], reason: Reason) -> list[Mxc]:
    """Hide these, and all with the same bytes, now and later; those that were not hidden before.

    Protected media stay. An unknown one is hidden should it ever be there.
    """
    hashes = _hashes(txn, media)
    txn.rows("SELECT FROM media_blobs WHERE sha256 = ANY(%s) ORDER BY sha256 FOR UPDATE", (hashes,))
    txn.insert(
        "INSERT INTO media_quarantined_hashes (sha256, quarantined_by, created_ts) VALUES %s ON CONFLICT DO NOTHING",
        [(sha256, reason.actor, reason.now_ms) for sha256 in hashes],
    )
    tell(txn, media, hashes)
    protected = _protected(txn, media)
    wanted = dict.fromkeys([*media, *_with_hashes(txn, hashes)])
    return _hide(txn, [one for one in wanted if one not in protected], reason)


def would_quarantine(txn: Transaction, media: Sequence[Mxc], _reason: Reason) -> list[Mxc]:
    """What `quarantine` would hide."""
    protected = _protected(txn, media)
    wanted = dict.fromkeys([*media, *_with_hashes(txn, _hashes(txn, media))])
    hidden = {
        (origin, media_id)
        for origin, media_id in txn.fetch_values(
            "SELECT q.origin, q.media_id FROM media_quarantine q JOIN (VALUES %s) AS v (origin, media_id)"
            " ON q.origin = v.origin AND q.media_id = v.media_id",
            list(wanted),
        )
    }
    return sorted(one for one in wanted if one not in protected and one not in hidden)


def hide_new(txn: Transaction, origin: str, media_id: str, now_ms: int) -> None:
    """For new media whose bytes are hidden, or that is hidden already."""
    _hide(txn, [(origin, media_id)], Reason(SYSTEM, SAME_BYTES, now_ms))


def unquarantine(txn: Transaction, media: Sequence[Mxc], reason: Reason) -> list[Mxc]:
    """Show these again, and all with the same bytes; those that were hidden."""
    hashes = _hashes(txn, media)
    txn.execute("DELETE FROM media_quarantined_hashes WHERE sha256 = ANY(%s)", (hashes,))
    tell(txn, media, hashes)
    wanted = dict.fromkeys([*media, *_with_hashes(txn, hashes)])
    shown = txn.fetch_values(
        "DELETE FROM media_quarantine q USING (VALUES %s) AS v (origin, media_id)"
        " WHERE q.origin = v.origin AND q.media_id = v.media_id RETURNING q.origin, q.media_id",
        list(wanted),
    )
    return _record(txn, shown, False, reason)


def read_changes(txn: Transaction, after: int, limit: int) -> list[QuarantineChange]:
    rows = txn.rows(
        "SELECT position, origin, media_id, quarantined FROM media_quarantine_changes"
        " WHERE position > %s ORDER BY position LIMIT %s",
        (after, limit),
    )
    return [QuarantineChange(*row) for row in rows]


def read_position(txn: Transaction) -> int:
    position: int = txn.value("SELECT position FROM media_quarantine_position")
    return position


def _hide(txn: Transaction, media: Sequence[Mxc], reason: Reason) -> list[Mxc]:
    hidden = txn.fetch_values(
        "INSERT INTO media_quarantine (origin, media_id, quarantined_by, created_ts) VALUES %s"
        " ON CONFLICT DO NOTHING RETURNING origin, media_id",
        [(origin, media_id, reason.actor, reason.now_ms) for origin, media_id in sorted(media)],
    )
    return _record(txn, hidden, True, reason)


def _record(
    txn: Transaction, changed: Sequence[Sequence[str]], quarantined: bool, reason: Reason
) -> list[Mxc]:
    media = sorted((origin, media_id) for origin, media_id in changed)
    if media:
        last = txn.value(
            "UPDATE media_quarantine_position SET position = position + %s RETURNING position", (len(media),)
        )
        first = last - len(media) + 1
        txn.insert(
            "INSERT INTO media_quarantine_changes"
            " (position, origin, media_id, quarantined, actor, cause, created_ts) VALUES %s",
            [
                (first + index, *one, quarantined, reason.actor, reason.cause, reason.now_ms)
                for index, one in enumerate(media)
            ],
        )
    return media


def _hashes(txn: Transaction, media: Sequence[Mxc]) -> list[bytes]:
    rows = txn.fetch_values(
        "SELECT DISTINCT m.sha256 FROM media m JOIN (VALUES %s) AS v (origin, media_id)"
        " ON m.origin = v.origin AND m.media_id = v.media_id WHERE m.sha256 IS NOT NULL AND NOT m.protected",
        list(media),
    )
    return sorted(bytes(sha256) for (sha256,) in rows)


def _with_hashes(txn: Transaction, hashes: Sequence[bytes]) -> list[Mxc]:
    return [
        (origin, media_id)
        for origin, media_id in txn.rows(
            "SELECT origin, media_id FROM media WHERE sha256 = ANY(%s) AND NOT protected", (list(hashes),)
        )
    ]


def _protected(txn: Transaction, media: Sequence[Mxc]) -> set[Mxc]:
    rows = txn.fetch_values(
        "SELECT m.origin, m.media_id FROM media m JOIN (VALUES %s) AS v (origin, media_id)"
        " ON m.origin = v.origin AND m.media_id = v.media_id WHERE m.protected",
        list(media),
    )
    return {(origin, media_id) for origin, media_id in rows}
