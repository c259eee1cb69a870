"""The numbers of one-time keys stay right, whatever is done to a device's keys at the same moment."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from random import Random

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.storage import devices, one_time_keys
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.one_time_keys import ClaimedKey, StoredKey, Wanted

USER = "@u:hs"
DEVICES = ("A", "B", "C", "D")
ALGORITHMS = ("curve25519", "signed_curve25519")
ROUNDS, AT_ONCE = 40, 8
KEPT = 12
"""Of each stock, so that uploads drop old keys, too."""
STOCKS = [Wanted(USER, device_id, algorithm) for device_id in DEVICES for algorithm in ALGORITHMS]

_NUMBERS = (
    "SELECT given, uploaded, array(SELECT number FROM one_time_keys AS key WHERE key.stock_nid = stock.stock_nid"
    " AND number > given ORDER BY number) FROM key_stocks AS stock"
)


class LostError(Exception):
    """The process is killed before it commits."""


class Deeds:
    """What may happen to the keys; `given` counts those that committed claims gave out."""

    def __init__(self, database: Database, random: Random) -> None:
        self.given: Counter[str] = Counter()
        self._database = database
        self._random = random
        self._numbers = count()

    async def do(self) -> None:
        deeds: Sequence[Callable[[Transaction], list[ClaimedKey]]] = (
            self._upload(), self._upload(), self._claim(), self._claim(), self._claim(), self._delete(), self._empty()
        )  # fmt: skip
        deed, is_killed = self._random.choice(deeds), self._random.random() < 0.2

        def work(txn: Transaction) -> list[ClaimedKey]:
            claimed = deed(txn)
            txn.finish()
            if is_killed:
                raise LostError
            return claimed

        try:
            claimed = await self._database.transact(work)
        except LostError:
            return
        self.given.update(key.key_id for key in claimed)

    def _upload(self) -> Callable[[Transaction], list[ClaimedKey]]:
        device_id, names = self._random.choice(DEVICES), [str(next(self._numbers)) for _ in range(6)]
        keys = [StoredKey(self._random.choice(ALGORITHMS), name, f"key {name}", "{}") for name in names]

        def upload(txn: Transaction) -> list[ClaimedKey]:
            devices.create_device(txn, USER, device_id, None, 1)
            if devices.lock_device(txn, USER, device_id):
                one_time_keys.add_keys(txn, USER, device_id, keys)
            return []

        return upload

    def _claim(self) -> Callable[[Transaction], list[ClaimedKey]]:
        wanted = self._random.sample(STOCKS, self._random.randint(1, len(STOCKS)))
        return lambda txn: one_time_keys.claim_keys(txn, wanted)

    def _delete(self) -> Callable[[Transaction], list[ClaimedKey]]:
        gone = self._random.sample(DEVICES, 2)

        def delete(txn: Transaction) -> list[ClaimedKey]:
            devices.delete_devices(txn, USER, gone)
            return []

        return delete

    def _empty(self) -> Callable[[Transaction], list[ClaimedKey]]:
        """As the deletion of old keys does."""

        def empty(txn: Transaction) -> list[ClaimedKey]:
            nids = [nid for (nid,) in txn.rows("SELECT stock_nid FROM key_stocks ORDER BY stock_nid LIMIT 2")]
            _, newest = one_time_keys.count_stocks(txn)
            one_time_keys.empty_stocks(txn, nids, newest)
            return []

        return empty


@pytest.mark.parametrize("seed", range(3))
@ensureDeferred
async def test_numbers_and_keys_agree(database: Database, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Uploads, claims, deleted devices and old keys at once, some of them killed: no key is given out twice, each
    that is counted is there, and none is left of what is gone.
    """
    monkeypatch.setattr(one_time_keys, "KEPT_KEYS", KEPT)
    await database.transact(_prepare)
    deeds = Deeds(database, Random(seed))
    for _ in range(ROUNDS):
        await gatherResults([Deferred.fromCoroutine(deeds.do()) for _ in range(AT_ONCE)])
        for given, uploaded, numbers in await database.read(lambda txn: txn.rows(_NUMBERS)):
            assert numbers == [*range(given + 1, uploaded + 1)]
            assert len(numbers) <= KEPT
    assert deeds.given
    assert max(deeds.given.values()) == 1


def _prepare(txn: Transaction) -> None:
    txn.execute("INSERT INTO users (user_id, created_ts) VALUES (%s, 1)", (USER,))
