"""Which parts of an import are done, rooms among them.

None is done twice: what its owner has ended or used up since, as a session or a one-time key, would be there again.
"""

from synapse_lite.storage.database import Transaction


def is_done(txn: Transaction, part: str) -> bool:
    return txn.row("SELECT FROM imported_parts WHERE name = %s", (part,)) is not None


def note_done(txn: Transaction, part: str, now_ms: int, *, on_disk: bool = False) -> None:
    """`on_disk`: with all that was committed before, for which nobody has waited."""
    if on_disk:
        txn.later("SET LOCAL synchronous_commit = on")
    txn.execute("INSERT INTO imported_parts VALUES (%s, %s) ON CONFLICT DO NOTHING", (part, now_ms))
