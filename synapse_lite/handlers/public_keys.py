"""The public keys of users, in memory: whoever writes into an encrypted room asks for those of all members."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property

import orjson
from attrs import field, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import too_large
from synapse_lite.handlers.shared_reads import SharedReads
from synapse_lite.matrix import e2e_keys
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage import cross_signing, device_keys, device_lists
from synapse_lite.storage.cross_signing import MASTER
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.device_keys import KeySignature
from synapse_lite.storage.stream import Change, Kind

REMEMBERED = 20_000  # users who signed keys of others
REMEMBERED_BYTES = 64 * 1024 * 1024
EACH_BYTES = 500
"""What a user takes beside the JSON."""

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Of the keys of all users in one answer: 4,000 users of three devices. Clients ask for 250 users at a time."""

LARGE_BYTES = 2 * 1024 * 1024
"""Answers with more wait for their turn."""

ExpectLarge = Callable[[], Awaitable[None]]

Added = dict[str, dict[str, str]]  # signatures by user and key id
Target = tuple[str, str]  # user, and device id or public key


@frozen
class UserKeys:
    """Of one user, as JSON: `devices` an object by id, `cross_signing` by usage, with the user's own signatures.

    `master` is the public master key, `names` what the devices are called: for the user's own eyes.
    """

    devices: bytes
    cross_signing: Mapping[str, str]
    master: str | None
    names: Mapping[str, str] = field(factory=dict)

    @cached_property
    def bytes_in_memory(self) -> int:
        """About so many."""
        names = sum(map(len, self.names)) + sum(map(len, self.names.values())) + 100 * len(self.names)
        return EACH_BYTES + len(self.devices) + sum(map(len, self.cross_signing.values())) + names

    def by_device(self) -> dict[str, JsonObject]:
        keys: dict[str, JsonObject] = orjson.loads(self.devices)
        return keys


class PublicKeys:
    """Give `on_changes` every change, in order."""

    def __init__(self, database: Database, log: ChangeLog) -> None:
        self._database = database
        self._log = log
        self._keys: SharedReads[str, UserKeys] = SharedReads(
            database, read_user_keys, REMEMBERED_BYTES, lambda keys: keys.bytes_in_memory
        )
        self._made: SharedReads[str, Mapping[Target, Added]] = SharedReads(database, _read_made, REMEMBERED)

    def on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.kind in {Kind.DEVICE_LIST, Kind.USER_SIGNATURES} and change.user_id is not None:
                self._forget(change.user_id)

    async def of(self, user_ids: AbstractSet[str], expect_large: ExpectLarge) -> Mapping[str, UserKeys]:
        """As of now: what other processes have written is looked for, whether this one has heard of it or not.

        413 `M_TOO_LARGE` above `MAX_ANSWER_BYTES`; `expect_large` is awaited above `LARGE_BYTES`, before they are read.
        """
        unknown = user_ids - self._keys.cached(user_ids).keys()
        changed, unknown_bytes = await self._database.read(_look, self._log.position, user_ids, unknown)
        for user_id in changed:
            self._forget(user_id)
        known = self._keys.cached(user_ids)
        await check_answer(sum(keys.bytes_in_memory for keys in known.values()) + unknown_bytes, expect_large)
        return await self._keys.of(user_ids)

    async def made_by(self, user_id: str) -> Mapping[Target, Added]:
        """The signatures of the user on keys of others. After `of`."""
        return (await self._made.of([user_id]))[user_id]

    def _forget(self, user_id: str) -> None:
        self._keys.forget(user_id)
        self._made.forget(user_id)


async def check_answer(size: int, expect_large: ExpectLarge) -> None:
    """Of so many bytes; raises as `PublicKeys.of`."""
    if size > MAX_ANSWER_BYTES:
        raise too_large(
            "The keys of so many users are too large for one answer: ask for some of them at a time"
        )
    if size > LARGE_BYTES:
        await expect_large()


def with_signatures(text: str, added: Added | None) -> orjson.Fragment | JsonObject:
    """The JSON object, with more signatures."""
    return e2e_keys.with_signatures(orjson.loads(text), added) if added else orjson.Fragment(text)


def read_user_keys(txn: Transaction, user_ids: Collection[str]) -> dict[str, UserKeys]:
    added = _by_target(device_keys.read_signatures(txn, user_ids))
    devices: dict[str, dict[str, orjson.Fragment]] = {user_id: {} for user_id in user_ids}
    names: dict[str, dict[str, str]] = {user_id: {} for user_id in user_ids}
    for keys in device_keys.read_device_keys(txn, user_ids, {}):
        text = _signed(keys.json, added.get((keys.user_id, keys.device_id)))
        devices[keys.user_id][keys.device_id] = orjson.Fragment(text)
        if keys.display_name is not None:
            names[keys.user_id][keys.device_id] = keys.display_name
    crossed: dict[str, dict[str, str]] = {user_id: {} for user_id in user_ids}
    masters = {}
    for key in cross_signing.read_cross_signing_keys(txn, user_ids):
        crossed[key.user_id][key.usage] = _signed(key.json, added.get((key.user_id, key.public_key)))
        if key.usage == MASTER:
            masters[key.user_id] = key.public_key
    return {
        user_id: UserKeys(orjson.dumps(of), crossed[user_id], masters.get(user_id), names[user_id])
        for user_id, of in devices.items()
    }


def _look(
    txn: Transaction, position: int, user_ids: AbstractSet[str], unknown: AbstractSet[str]
) -> tuple[set[str], int]:
    """Whose keys changed after the position, and the bytes of those of the users that memory does not have."""
    changed = device_lists.changed_after(txn, position)
    return changed, device_keys.key_sizes(txn, unknown | (changed & user_ids))


def _read_made(txn: Transaction, user_ids: Collection[str]) -> dict[str, Mapping[Target, Added]]:
    return {user_id: _by_target(device_keys.read_signatures_on_others(txn, user_id)) for user_id in user_ids}


def _by_target(signatures: Collection[KeySignature]) -> dict[Target, Added]:
    added: dict[Target, Added] = {}
    for one in signatures:
        target = added.setdefault((one.target_user_id, one.target_id), {})
        target.setdefault(one.signer_user_id, {})[one.key_id] = one.signature
    return added


def _signed(text: str, added: Added | None) -> str:
    return orjson.dumps(with_signatures(text, added)).decode() if added else text
