"""A room as large as one likes, made by the server's own storage functions without its HTTP.

`python -m benchmarks.seed_room -c homeserver.yaml --events 1000000 --members 20000` writes it into the
database of a server and prints its id. Everything about it is as if clients had made it: signed events,
state, receipts, account data.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs
from twisted.internet import reactor

from synapse_lite.clock import Clock, ReactorClock
from synapse_lite.config.load import load
from synapse_lite.errors import MatrixError
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.contributors import room_contributors
from synapse_lite.rooms.contributors.notices import NoticesContributor
from synapse_lite.rooms.values import Write
from synapse_lite.storage import account_data, aliases, ephemeral
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.ephemeral import Receipt
from synapse_lite.storage.event_transactions import ClientRequest
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.rooms import Room, rooms_by_id
from synapse_lite.storage.session import Session
from synapse_lite.storage.state import StateStore
from synapse_lite.workers.keys import load_signing_key

BATCH = 500
CACHE_BYTES = 64 * 2**20
VERSION = "12"
PARAGRAPH = "It was a bright cold day in April, and the clocks were striking thirteen. " * 2
T = TypeVar("T")


@attrs.frozen
class Plan:
    """`events` in all; `members` of them are joins. One event of `state_every` is a topic."""

    events: int
    members: int
    state_every: int = 100


class Seeder:
    """Writes through one connection, in this thread."""

    def __init__(self, arguments: Mapping[str, object], key: SigningKey, clock: Clock) -> None:
        self._session = Session(arguments, {"application_name": "seed_room"})
        self._events = EventStore(CACHE_BYTES)
        state = StateStore(CACHE_BYTES)
        contributors = (
            *room_contributors(state, key.server_name, forget_on_leave=False),
            NoticesContributor(self._events, state, key.server_name),
        )
        self._appender = EventAppender(self._events, state, key, clock, contributors)
        self._clock = clock
        self._server_name = key.server_name

    def seed(self, plan: Plan) -> Room:
        """The new room, with an alias, and in it receipts and account data of every member."""
        creator, *others = (f"@seed{number}:{self._server_name}" for number in range(plan.members))
        room = self._transact(self._create, creator)
        for batch in _batches(others):
            self._transact(self._join, room, batch)
        for numbers in _batches(range(plan.events - len(others) - 4)):
            self._transact(self._speak, room, plan, creator, numbers)
        return room

    def say(self, messages: Sequence[tuple[str, str, str]]) -> None:
        """Room id, sender and text of each; in one transaction."""
        self._transact(self._say, messages)

    def close(self) -> None:
        self._session.close()

    def _transact(self, function: Callable[..., T], *args: object) -> T:
        def run(txn: Transaction) -> T:
            result = function(txn, *args)
            txn.flush()
            return result

        return self._session.transact(run)

    def _create(self, txn: Transaction, creator: str) -> Room:
        create = self._draft("m.room.create", creator, {"room_version": VERSION}, "")
        room = self._appender.create_room(txn, create, ROOM_VERSIONS[VERSION], None)
        self._append(
            txn,
            room,
            [
                self._draft("m.room.member", creator, {"membership": "join"}, creator),
                self._draft("m.room.power_levels", creator, {"users": {}}, ""),
                self._draft("m.room.join_rules", creator, {"join_rule": "public"}, ""),
            ],
        )
        aliases.add_alias(txn, f"#seed{room.nid}:{self._server_name}", room.nid, creator)
        return room

    def _join(self, txn: Transaction, room: Room, users: Sequence[str]) -> None:
        self._append(
            txn, room, [self._draft("m.room.member", user, {"membership": "join"}, user) for user in users]
        )
        for user in users:
            ephemeral.put_receipt(txn, Receipt(room.nid, user, "m.read", "", "$seed", self._clock.now_ms()))
            account_data.put_account_data(txn, user, room.nid, "m.fully_read", {"event_id": "$seed"})

    def _speak(self, txn: Transaction, room: Room, plan: Plan, creator: str, numbers: Sequence[int]) -> None:
        drafts = []
        for number in numbers:
            user = f"@seed{number % plan.members}:{self._server_name}"
            if number % plan.state_every == 0:
                drafts.append(self._draft("m.room.topic", creator, {"topic": f"Part {number}"}, ""))
            else:
                content = {"msgtype": "m.text", "body": f"{number}: {PARAGRAPH}"}
                drafts.append(self._draft("m.room.message", user, content, None))
        self._append(txn, room, drafts, first=numbers[0])

    def _say(self, txn: Transaction, messages: Sequence[tuple[str, str, str]]) -> None:
        known = rooms_by_id(txn, {room_id for room_id, _, _ in messages})
        writes = [
            Write(
                known[room_id].nid,
                self._draft("m.room.message", sender, {"msgtype": "m.text", "body": text}, None),
                None,
            )
            for room_id, sender, text in messages
        ]
        self._write(txn, writes)

    def _append(
        self, txn: Transaction, room: Room, drafts: Sequence[Draft], first: int | None = None
    ) -> None:
        """With `first`, each as if sent with a transaction id of its own, counted from there."""
        writes = [
            Write(
                room.nid,
                draft,
                None if first is None else ClientRequest(f"{draft.sender} device SEED", "send", f"{number}"),
            )
            for number, draft in enumerate(drafts, start=first or 0)
        ]
        self._write(txn, writes)

    def _write(self, txn: Transaction, writes: Sequence[Write]) -> None:
        for result in self._appender.append(txn, writes):
            if isinstance(result, MatrixError):
                raise result

    def _draft(self, kind: str, sender: str, content: dict[str, object], state_key: str | None) -> Draft:
        return Draft(kind, sender, content, self._clock.now_ms(), state_key)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-c", "--config", type=Path, action="append", required=True)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--members", type=int, default=20_000)
    wanted = parser.parse_args()
    config = load(wanted.config, os.environ)
    key = load_signing_key(config.signing_key_path, config.server_name)
    seeder = Seeder(config.database.dsn_kwargs(), key, ReactorClock(reactor))
    started = time.monotonic()
    room = seeder.seed(Plan(wanted.events, wanted.members))
    seeder.close()
    print(f"{room.room_id}  ({wanted.events / (time.monotonic() - started):.0f} events a second)")


if __name__ == "__main__":
    main()
