"""Followers that tell others what is new have nothing to tell of what is old."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.rooms.values import NOTHING_BESIDE, Beside, Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Position
from synapse_lite.storage.tasks.followers import pass_over


@frozen
class PassOver:
    """`followers` are names. The last contributor, for events that are taken over from elsewhere."""

    followers: Collection[str]

    def __call__(self, _txn: Transaction, written: Written) -> None:
        if not written.new:
            return
        nid = written.new[-1].nid
        beside = written.beside.get(nid, NOTHING_BESIDE)
        written.beside[nid] = Beside(beside.content, (*beside.at_position, self._pass))

    def _pass(self, txn: Transaction, position: Position) -> None:
        pass_over(txn, self.followers, position)
