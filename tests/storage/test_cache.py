"""What is kept in memory is bounded, by sizes that are true enough."""

import gc
import sys
import tracemalloc
from typing import Any

import orjson
import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.state import StateStore
from tests.builders import ALICE, SERVER, World

VERSION = ROOM_VERSIONS["12"]
KEY = generate_signing_key(SERVER)
MEBIBYTE = 2**20


def _bytes_of(value: object) -> int:
    """All objects that the value holds, and that nothing else does."""
    seen, size, found = {id(VERSION)}, 0, [value]
    while found:
        item = found.pop()
        if id(item) not in seen and not isinstance(item, type):
            seen.add(id(item))
            size += sys.getsizeof(item)
            found += gc.get_referents(item)
    return size


def _json(content: dict[str, Any]) -> str:
    draft = Draft("m.room.message", ALICE, content, 1_700_000_000_000)
    event = build_event(draft, VERSION, "!" + "r" * 43, ["$" + "p" * 43], ["$" + "a" * 43] * 3, 10, KEY)
    return orjson.dumps(event.pdu).decode()


def _fill(capacity: int, json: str, count: int) -> EventStore:
    """A cache through which `count` events of this JSON have gone, each read by a client once."""
    store = EventStore(capacity)
    for nid in range(1, count + 1):
        event = Event.from_pdu(orjson.loads(json), VERSION, f"${nid:043}")
        stored = StoredEvent(nid, 1, event, 1, 1)
        store.remember(stored, json)
        assert stored.client_json
    return store


CONTENTS = {
    "message": {"msgtype": "m.text", "body": "Good morning"},
    "long text": {"msgtype": "m.text", "body": "x" * 40_000},
    "emoji": {"msgtype": "m.text", "body": "\N{GRINNING FACE}" * 10_000},
    "empty objects": {"a": [{}] * 15_000},
    "empty lists": {"a": [[]] * 15_000},
    "numbers": {"a": list(range(1000, 9000))},
    "keys": {f"key{number}": number for number in range(3000)},
    "nested": {"a": [{"b": {"c": [1]}}] * 3000},
}


@pytest.mark.parametrize("name", CONTENTS)
def test_the_event_cache_takes_no_more_than_twice_its_bound(name: str) -> None:
    """Whatever the events are made of: nobody can use up the memory with an odd content."""
    store = _fill(4 * MEBIBYTE, _json(CONTENTS[name]), 3000 if name == "message" else 150)
    assert 0 < _bytes_of(store._cache._entries) < 2 * 4 * MEBIBYTE


def test_the_event_cache_is_as_full_as_it_may_be() -> None:
    """Of ordinary messages it holds what its size promises: at least half of its bound is in use."""
    assert _bytes_of(_fill(4 * MEBIBYTE, _json(CONTENTS["message"]), 3000)._cache._entries) > 2 * MEBIBYTE


def test_encoded_events_hold_no_spare_memory() -> None:
    """An encoder's buffer is much larger than a message; 3,000 cached messages must not keep it alive."""
    json = _json(CONTENTS["message"])
    tracemalloc.start()
    try:
        store = _fill(64 * MEBIBYTE, json, 3000)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(store.cached(range(1, 3001))) == 3000
    assert taken / 3000 < 4096


@ensureDeferred
async def test_the_state_cache_takes_no_more_than_its_bound(database: Database) -> None:
    """Snapshots of a room that many have joined, by the objects that are in memory."""
    capacity = 100_000
    world = World(state=StateStore(capacity))

    def work(txn: Transaction) -> None:
        world.room(txn, ALICE, *(f"@user{number}:{SERVER}" for number in range(300)))

    await database.transact(work)
    assert capacity / 3 < _bytes_of(world.state._snapshots._entries) < capacity * 1.5


def test_the_least_recently_used_goes_first() -> None:
    """A value that was looked up stays, one that is replaced counts once, and one too large is not kept."""
    cache: Cache[str, str] = Cache(3)
    for key in "abc":
        cache.put(key, key)
    cache.put("a", "new")
    assert cache.find("bc") == {"b": "b", "c": "c"}
    cache.put("d", "d")
    assert cache.find("abcd") == {"b": "b", "c": "c", "d": "d"}
    cache.put("e", "e", weight=4)
    assert cache.find("abcde") == {}
