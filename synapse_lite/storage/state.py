"""Room state: the current one, and snapshots of the state around each event.

A snapshot holds what changed since its base; see schema/0001_rooms.sql for how bases are chosen.
Snapshots never change, so they are cached.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from attrs import frozen

from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.nids import NidSequence, nid_array

StateKey = tuple[str, str]
NidMap = dict[StateKey, int]
SnapshotNid = int | None
"""None: the state is not known. A reader finds nothing set there."""

KEY_CACHE = 50_000  # entries
REMOVED = 0  # an entry that takes a key out of the state; no event has this nid
EMPTY = 0  # the snapshot of a room without state
FIRST_ORDINAL = 2**40  # however large the first snapshot of a room is, no later one copies it


_FEW_ENTRIES = (
    "SELECT s.snapshot_nid, k.nid, s.event_nids[array_position(s.key_nids, k.nid)]"
    " FROM state_snapshots s CROSS JOIN unnest(%s::bigint[]) AS k (nid)"
    " WHERE s.snapshot_nid = ANY(%s::bigint[])"
)
_MANY_ENTRIES = (
    "SELECT s.snapshot_nid, e.key_nid, e.event_nid FROM unnest(%s::bigint[]) AS k (nid)"
    " JOIN (state_snapshots s CROSS JOIN LATERAL unnest(s.key_nids, s.event_nids) AS e (key_nid, event_nid))"
    " ON e.key_nid = k.nid WHERE s.snapshot_nid = ANY(%s::bigint[])"
)
FEW_KEYS = 10
"""So many are looked for one by one, for each of which PostgreSQL unpacks the arrays; for more it goes through all entries once."""

LARGE = 2000  # entries: of a larger snapshot single keys are read, and it is not kept in memory


@frozen(eq=False)
class Snapshot:
    """`entries` (state key nid to event nid) overlay the snapshot `base_nid`. None: there are more than `LARGE`."""

    nid: int
    base_nid: int
    ordinal: int
    entries: Mapping[int, int] | None


class StateStore:
    """Reads and writes state. `cache_bytes` bounds the snapshots in memory."""

    def __init__(self, cache_bytes: int) -> None:
        self._nids = NidSequence("snapshot_nids")
        self._snapshots: Cache[int, Snapshot] = Cache(cache_bytes)
        self._key_nids: Cache[StateKey, int] = Cache(KEY_CACHE)

    def current(
        self, txn: Transaction, wanted: Collection[tuple[int, StateKey]]
    ) -> dict[tuple[int, StateKey], int]:
        """The current state events of some (room nid, key) pairs; what is not set is absent."""
        rows = txn.fetch_values(
            "SELECT c.room_nid, c.type, c.state_key, c.event_nid"
            " FROM (VALUES %s) AS w (room_nid, type, state_key) JOIN current_state c USING (room_nid, type, state_key)",
            [(room_nid, *key) for room_nid, key in wanted],
        )
        return {(room_nid, (kind, key)): nid for room_nid, kind, key, nid in rows}

    def current_of_rooms(
        self, txn: Transaction, room_nids: Collection[int], members: Collection[str] | None
    ) -> dict[int, NidMap]:
        """The current state of rooms; with `members`, of the membership events only those of these users."""
        condition = "" if members is None else " AND (type <> 'm.room.member' OR state_key = ANY(%s))"
        arguments = [list(room_nids)] if members is None else [list(room_nids), list(members)]
        found: dict[int, NidMap] = {}
        for room_nid, kind, key, nid in txn.rows(
            f"SELECT room_nid, type, state_key, event_nid FROM current_state WHERE room_nid = ANY(%s){condition}",
            arguments,
        ):
            found.setdefault(room_nid, {})[kind, key] = nid
        return found

    def current_of_type(self, txn: Transaction, room_nids: Collection[int], kind: str) -> list[int]:
        """The current state events of one type, of all the rooms."""
        rows = txn.rows(
            "SELECT event_nid FROM current_state WHERE room_nid = ANY(%s) AND type = %s",
            (list(room_nids), kind),
        )
        return [nid for (nid,) in rows]

    def current_of_types(
        self, txn: Transaction, room_nids: Collection[int], kinds: Collection[str], limit: int
    ) -> list[int]:
        """The current state events of some types, with any key; of each room at most `limit`."""
        rows = txn.rows(
            "SELECT c.event_nid FROM unnest(%s::bigint[]) AS r (nid) CROSS JOIN LATERAL ("
            " SELECT event_nid FROM current_state WHERE room_nid = r.nid AND type = ANY(%s)"
            " ORDER BY type, state_key LIMIT %s) AS c",
            (list(room_nids), list(kinds), limit),
        )
        return [nid for (nid,) in rows]

    def at(self, txn: Transaction, snapshot_nid: SnapshotNid, keys: Collection[StateKey]) -> NidMap:
        """The state events of some keys in a snapshot; what is not set, or unknown, is absent."""
        return self.at_each(txn, [snapshot_nid], keys)[snapshot_nid]

    def at_each(
        self, txn: Transaction, snapshot_nids: Collection[SnapshotNid], keys: Collection[StateKey]
    ) -> dict[SnapshotNid, NidMap]:
        """As `at`, for many snapshots: at most three statements."""
        wanted = self.find_keys(txn, keys)
        known = self._chains(txn, snapshot_nids)
        chains = {nid: list(_chain(known, nid)) for nid in snapshot_nids}
        large = {one.nid for chain in chains.values() for one in chain if one.entries is None}
        some = _read_entries(txn, large, wanted.values()) if large and wanted else {}
        return {nid: _look_up(chain, wanted, some) for nid, chain in chains.items()}

    def whole(self, txn: Transaction, snapshot_nid: SnapshotNid) -> NidMap:
        """All of a snapshot."""
        merged: dict[int, int] = {}
        for snapshot in _chain(self._chains(txn, [snapshot_nid]), snapshot_nid):
            merged = {**_entries(txn, snapshot), **merged}
        if not merged:
            return {}
        rows = txn.rows(
            "SELECT state_key_nid, type, state_key FROM state_keys WHERE state_key_nid = ANY(%s::bigint[])",
            (nid_array(merged),),
        )
        return {(kind, key): merged[nid] for nid, kind, key in rows if merged[nid] != REMOVED}

    def derive(self, txn: Transaction, room_nid: int, parent_nid: int, changes: Mapping[int, int]) -> int:
        """Store the snapshot that follows `parent_nid` by these changes (state key nid to event nid); its nid."""
        entries = dict(changes)
        chain = list(_chain(self._chains(txn, [parent_nid]), parent_nid))
        ordinal = chain[0].ordinal + 1 if chain else FIRST_ORDINAL
        base_nid = EMPTY
        for ancestor in chain:
            if ancestor.ordinal == ordinal & (ordinal - 1):
                base_nid = ancestor.nid
                break
            entries = {**_entries(txn, ancestor), **entries}
        kept = entries if len(entries) <= LARGE else None
        snapshot = Snapshot(self._nids.next(txn), base_nid, ordinal, kept)
        txn.insert_row(
            "INSERT INTO state_snapshots (snapshot_nid, room_nid, base_nid, ordinal, size, key_nids, event_nids)"
            " VALUES %s",
            (snapshot.nid, room_nid, base_nid, ordinal, len(entries), list(entries), list(entries.values())),
        )
        self._remember(snapshot)
        return snapshot.nid

    def insert_growing(self, txn: Transaction, room_nid: int, entries: Mapping[int, int]) -> int:
        """Store the first snapshot of a room (state key nid to event nid), to which `grow` may add: so nobody keeps
        what it says in memory, and no other one copies it.
        """
        snapshot = Snapshot(self._nids.next(txn), EMPTY, FIRST_ORDINAL, None)
        size = max(len(entries), LARGE + 1)
        txn.insert_row(
            "INSERT INTO state_snapshots (snapshot_nid, room_nid, base_nid, ordinal, size, key_nids, event_nids)"
            " VALUES %s",
            (snapshot.nid, room_nid, EMPTY, FIRST_ORDINAL, size, list(entries), list(entries.values())),
        )
        self._remember(snapshot)
        return snapshot.nid

    def grow(self, txn: Transaction, snapshot_nid: int, state: Mapping[StateKey, int]) -> NidMap:
        """Let a growing snapshot, and so all that are based on it, say these; what it said of them before."""
        key_nids = self.have_keys(txn, state)
        said = _read_entries(txn, [snapshot_nid], key_nids.values()).get(snapshot_nid, {})
        new = [key for key in state if key_nids[key] not in said]
        txn.execute(
            "UPDATE state_snapshots SET key_nids = key_nids || %s::bigint[], event_nids = event_nids || %s::bigint[]"
            " WHERE snapshot_nid = %s",
            (nid_array([key_nids[key] for key in new]), nid_array([state[key] for key in new]), snapshot_nid),
        )
        before = {key: said[key_nids[key]] for key in state if key_nids[key] in said}
        for key in [key for key, nid in before.items() if nid != state[key]]:
            txn.execute(
                "UPDATE state_snapshots SET event_nids[array_position(key_nids, %s)] = %s WHERE snapshot_nid = %s",
                (key_nids[key], state[key], snapshot_nid),
            )
        return before

    def set_current(self, txn: Transaction, room_nid: int, changes: Mapping[StateKey, int]) -> None:
        """Make the changes part of the room's current state."""
        if not changes:
            return
        txn.insert(
            "INSERT INTO current_state (room_nid, type, state_key, event_nid) VALUES %s"
            " ON CONFLICT (room_nid, type, state_key) DO UPDATE SET event_nid = excluded.event_nid",
            [(room_nid, *key, nid) for key, nid in changes.items()],
        )

    def unset_current(self, txn: Transaction, room_nid: int, keys: Collection[StateKey]) -> None:
        """Take keys out of the current state, as a state resolution may."""
        if keys:
            txn.insert(
                "DELETE FROM current_state c USING (VALUES %s) AS gone (room_nid, type, state_key)"
                " WHERE (c.room_nid, c.type, c.state_key) = (gone.room_nid, gone.type, gone.state_key)",
                [(room_nid, *key) for key in keys],
            )

    def find_keys(self, txn: Transaction, keys: Collection[StateKey]) -> dict[StateKey, int]:
        """The numbers of the keys that have one. Only what is certainly committed is remembered."""
        found = self._key_nids.find(keys)
        missing = [key for key in keys if key not in found]
        for key, nid in (_key_nids(txn, missing) if missing else {}).items():
            found[key] = nid
            if txn.read_only:
                self._key_nids.put(key, nid)
        return found

    def have_keys(self, txn: Transaction, keys: Collection[StateKey]) -> dict[StateKey, int]:
        """The numbers of the keys; those that had none have one now."""
        found = self.find_keys(txn, keys)
        return found | self.number_keys(txn, [key for key in keys if key not in found])

    def number_key(self, txn: Transaction, key: StateKey) -> int:
        """The number of a key that had none."""
        return self.number_keys(txn, [key])[key]

    def number_keys(self, txn: Transaction, keys: Collection[StateKey]) -> dict[StateKey, int]:
        """The numbers of keys that had none; sorted, so that no two writers wait for each other."""
        if not keys:
            return {}
        rows = txn.fetch_values(
            "INSERT INTO state_keys (type, state_key) VALUES %s ON CONFLICT DO NOTHING"
            " RETURNING type, state_key, state_key_nid",
            sorted(keys),
        )
        new = {(kind, key): nid for kind, key, nid in rows}
        others = [key for key in keys if key not in new]  # which somebody else has numbered meanwhile
        return {**new, **_key_nids(txn, others)}

    def _chains(self, txn: Transaction, snapshot_nids: Iterable[SnapshotNid]) -> dict[int, Snapshot]:
        """The snapshots, their bases, the bases of those …, by nid; what is not in memory in one statement."""
        known: dict[int, Snapshot] = {}
        missing = set()
        for snapshot_nid in snapshot_nids:
            nid = snapshot_nid or EMPTY
            while nid != EMPTY and nid not in known:
                snapshot = self._snapshots.get(nid)
                if snapshot is None:
                    missing.add(nid)
                    break
                known[nid] = snapshot
                nid = snapshot.base_nid
        return {**known, **self._load_chains(txn, missing)} if missing else known

    def _load_chains(self, txn: Transaction, snapshot_nids: Iterable[int]) -> dict[int, Snapshot]:
        # One by one from the index: the planner expects long chains, and would join them with the whole table.
        rows = txn.rows(
            "WITH RECURSIVE chain (nid) AS ("
            "  SELECT unnest(%s::bigint[])"
            "  UNION SELECT (SELECT base_nid FROM state_snapshots WHERE snapshot_nid = c.nid) FROM chain c"
            ") SELECT s.* FROM chain CROSS JOIN LATERAL ("
            "  SELECT snapshot_nid, base_nid, ordinal, CASE WHEN size <= %s THEN key_nids END,"
            "   CASE WHEN size <= %s THEN event_nids END FROM state_snapshots"
            "  WHERE snapshot_nid = nid OFFSET 0) AS s",
            (nid_array(snapshot_nids), LARGE, LARGE),
        )
        snapshots = {
            nid: Snapshot(
                nid, base_nid, ordinal, None if keys is None else dict(zip(keys, events, strict=True))
            )
            for nid, base_nid, ordinal, keys, events in rows
        }
        for snapshot in snapshots.values():
            self._remember(snapshot)
        return snapshots

    def _remember(self, snapshot: Snapshot) -> None:
        self._snapshots.put(snapshot.nid, snapshot, 300 + 150 * len(snapshot.entries or ()))


def _chain(known: Mapping[int, Snapshot], snapshot_nid: SnapshotNid) -> Iterator[Snapshot]:
    """The snapshot, its base, the base of that …"""
    nid = snapshot_nid or EMPTY
    while nid != EMPTY:
        yield known[nid]
        nid = known[nid].base_nid


def _look_up(
    chain: Iterable[Snapshot], key_nids: Mapping[StateKey, int], some: Mapping[int, Mapping[int, int]]
) -> NidMap:
    """What the chain says of the keys: the nearest snapshot that names a key decides.

    `some` are the entries of large snapshots, as far as they are wanted.
    """
    wanted = dict(key_nids)
    found: NidMap = {}
    for snapshot in chain:
        entries = snapshot.entries if snapshot.entries is not None else some.get(snapshot.nid, {})
        for key in [key for key in wanted if wanted[key] in entries]:
            found[key] = entries[wanted.pop(key)]
        if not wanted:
            break
    return {key: nid for key, nid in found.items() if nid != REMOVED}


def _read_entries(
    txn: Transaction, snapshot_nids: Collection[int], key_nids: Collection[int]
) -> dict[int, dict[int, int]]:
    """The entries of some keys, by snapshot: without taking the arrays to this side."""
    if not key_nids:
        return {}
    sql = _FEW_ENTRIES if len(key_nids) <= FEW_KEYS else _MANY_ENTRIES
    rows = txn.rows(sql, (nid_array(key_nids), nid_array(snapshot_nids)))
    found: dict[int, dict[int, int]] = {}
    for snapshot_nid, key_nid, event_nid in rows:
        if event_nid is not None:
            found.setdefault(snapshot_nid, {})[key_nid] = event_nid
    return found


def _entries(txn: Transaction, snapshot: Snapshot) -> Mapping[int, int]:
    """All of a snapshot's own."""
    if snapshot.entries is not None:
        return snapshot.entries
    key_nids, event_nids = txn.row(
        "SELECT key_nids, event_nids FROM state_snapshots WHERE snapshot_nid = %s", (snapshot.nid,)
    ) or ((), ())
    return dict(zip(key_nids, event_nids, strict=True))


def _key_nids(txn: Transaction, keys: Collection[StateKey]) -> dict[StateKey, int]:
    rows = txn.fetch_values(
        "SELECT s.type, s.state_key, s.state_key_nid"
        " FROM (VALUES %s) AS w (type, state_key) JOIN state_keys s USING (type, state_key)",
        keys,
    )
    return {(kind, key): nid for kind, key, nid in rows}
