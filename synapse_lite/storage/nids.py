"""Numeric ids, fetched from their sequences in blocks: no round trip for most events."""

from collections.abc import Iterable, Iterator
from threading import Lock

from synapse_lite.storage.database import Transaction

BLOCK = 1000  # the INCREMENT BY of the sequences


class NidSequence:
    """Unused ids of one sequence. A block that a process did not use up is lost, which costs nothing."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._block: Iterator[int] = iter(())
        self._lock = Lock()

    def next(self, txn: Transaction) -> int:
        with self._lock:
            nid = next(self._block, None)
            if nid is None:
                start = int(txn.value("SELECT nextval(%s::regclass)", (self._name,)))
                self._block = iter(range(start, start + BLOCK))
                nid = next(self._block)
            return nid


def nid_array(nids: Iterable[int]) -> str:
    """For `ANY(%s::bigint[])`: one constant, where a list becomes as many, and those take longer to parse."""
    return f"{{{','.join(map(str, nids))}}}"
