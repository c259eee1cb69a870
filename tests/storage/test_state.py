"""Snapshots of large rooms: what later ones copy, and what a look at a few keys takes."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.state import EMPTY, LARGE, REMOVED, StateKey, StateStore

MEMBERS = 50_000
CHANGES = 1000
ROOM = 1
MOST_BYTES = 100_000
MEMBER_EVENT = 1_000_000  # that of member n is this and n


def _key(number: int) -> StateKey:
    return "m.room.member", f"@{number}:hs.test"


def _fill(txn: Transaction) -> int:
    """A snapshot of many members, as a room of another server has it when we join; its nid."""
    txn.execute(
        "INSERT INTO state_keys (type, state_key) SELECT 'm.room.member', '@' || n || ':hs.test'"
        " FROM generate_series(1, %s) n",
        (MEMBERS,),
    )
    rows = txn.rows("SELECT state_key, state_key_nid FROM state_keys")
    changes = {nid: MEMBER_EVENT + int(state_key[1:].partition(":")[0]) for state_key, nid in rows}
    return StateStore(10**9).derive(txn, ROOM, EMPTY, changes)


@ensureDeferred
async def test_later_snapshots_of_a_large_room_are_small(database: Database) -> None:
    """They hold a few entries each: never what the first one holds."""

    def run(txn: Transaction) -> float:
        snapshot_nid, store = _fill(txn), StateStore(10**7)
        for number in range(CHANGES):
            key = store.find_keys(txn, [_key(1 + number * 7)])
            snapshot_nid = store.derive(txn, ROOM, snapshot_nid, dict.fromkeys(key.values(), 1 + number))
        for number in (0, CHANGES // 2, CHANGES - 1):
            assert store.at(txn, snapshot_nid, [_key(1 + number * 7)]) == {_key(1 + number * 7): 1 + number}
        assert len(store.whole(txn, snapshot_nid)) == MEMBERS
        return float(txn.value("SELECT avg(size) FROM state_snapshots WHERE size < %s", (LARGE,)))

    assert await database.transact(run) <= 6


@ensureDeferred
async def test_a_look_at_a_large_snapshot_keeps_little(database: Database) -> None:
    """A few keys are read without the rest, and of the snapshot only where it stands stays in memory."""

    def run(txn: Transaction) -> None:
        large = _fill(txn)
        key_nids = StateStore(0).find_keys(txn, [_key(5), _key(6)])
        after = StateStore(0).derive(txn, ROOM, large, {key_nids[_key(5)]: 5, key_nids[_key(6)]: REMOVED})
        store = StateStore(10**7)
        found = store.at_each(txn, [large, after], [_key(5), _key(6), _key(7), ("m.room.name", "")])
        assert found[large] == {_key(n): MEMBER_EVENT + n for n in (5, 6, 7)}
        assert found[after] == {_key(5): 5, _key(7): MEMBER_EVENT + 7}
        assert store._snapshots._weight <= MOST_BYTES
        whole = store.whole(txn, after)
        assert len(whole) == MEMBERS - 1
        assert (whole[_key(5)], whole[_key(7)]) == (5, MEMBER_EVENT + 7)
        assert store._snapshots._weight <= MOST_BYTES

    await database.transact(run)


@ensureDeferred
async def test_a_growing_snapshot_says_what_was_put_into_it(database: Database) -> None:
    """However many of its keys are looked for; what is put in again takes the place of what was there."""

    def run(txn: Transaction) -> None:
        store = StateStore(10**7)
        (key_nid,) = store.have_keys(txn, [_key(1)]).values()
        nid = store.insert_growing(txn, ROOM, {key_nid: 1})
        assert store.grow(txn, nid, {_key(number): number for number in range(2, 40)}) == {}
        changed = {_key(number): 1000 + number for number in range(20, 60)}
        assert store.grow(txn, nid, changed) == {_key(number): number for number in range(20, 40)}
        known = {_key(number): number for number in range(1, 20)} | changed
        for keys in (list(known)[:3], list(known)):
            wanted = [*keys, _key(100)]
            assert store.at(txn, nid, wanted) == {key: known[key] for key in keys}
        assert store.whole(txn, nid) == known

    await database.transact(run)
