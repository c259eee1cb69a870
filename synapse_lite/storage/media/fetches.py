"""Which process fetches a file of another server just now; the others wait for it."""

from synapse_lite.storage.database import Transaction


def claim(txn: Transaction, origin: str, media_id: str, claimant: str, now_ms: int, until_ms: int) -> bool:
    """Whether the file is the claimant's to fetch: nobody else has a claim that is still good."""
    return (
        txn.execute(
            "INSERT INTO media_fetches AS f (origin, media_id, claimant, until_ts) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (origin, media_id) DO UPDATE SET claimant = EXCLUDED.claimant,"
            " until_ts = EXCLUDED.until_ts WHERE f.until_ts <= %s",
            (origin, media_id, claimant, until_ms, now_ms),
        )
        == 1
    )


def release(txn: Transaction, origin: str, media_id: str, claimant: str) -> None:
    txn.execute(
        "DELETE FROM media_fetches WHERE origin = %s AND media_id = %s AND claimant = %s",
        (origin, media_id, claimant),
    )


def delete_expired(txn: Transaction, now_ms: int, limit: int) -> int:
    """Claims of processes that died."""
    return txn.execute(
        "DELETE FROM media_fetches WHERE (origin, media_id) IN"
        " (SELECT origin, media_id FROM media_fetches WHERE until_ts <= %s LIMIT %s FOR UPDATE SKIP LOCKED)",
        (now_ms, limit),
    )
