"""Where the subjects of tasks are made: users, rooms with messages, by the server's own write path, without HTTP."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from attrs import define, field, frozen
from pydantic import BaseModel
from twisted.internet import reactor

from synapse_lite.clock import ReactorClock
from synapse_lite.errors import MatrixError
from synapse_lite.matrix.event import Draft
from synapse_lite.rooms.values import Write
from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.session import Session
from synapse_lite.tasks.specs import TaskSpec
from tests.builders import World
from tests.chaos.scene import Scene
from tests.processes.site import SERVER

Outcome = Mapping[str, object]
T = TypeVar("T")


@frozen
class Subject:
    """A task to ask for; what `read` must find when it is complete, by name. `result` is the task's own, None: any."""

    spec: TaskSpec[Any, Any]
    params: BaseModel
    expected: Outcome
    read: Callable[[Transaction], Outcome]
    result: Mapping[str, Any] | None = None


@define
class Stage:
    """Everybody and every room is new. What is written is written as by a process of its own.

    `media`: the directory of the media store.
    """

    session: Session
    world: World
    media: Path
    _numbers: Iterator[int] = field(factory=itertools.count)

    @classmethod
    def of(cls, scene: Scene) -> Self:
        return cls(scene.second, World(ReactorClock(reactor), server_name=SERVER), scene.site.media)

    def do(self, function: Callable[..., T], *arguments: object) -> T:
        def run(txn: Transaction) -> T:
            result = function(txn, *arguments)
            txn.flush()
            txn.finish()
            return result

        return self.session.transact(run)

    def user(self, name: str) -> str:
        user_id = f"@{name}{next(self._numbers)}:{SERVER}"
        self.do(accounts.create_account, NewAccount(user_id, 1, "hash", displayname=name))
        return user_id

    def room(self, creator: str, *joined: str) -> Room:
        room = self.do(self.world.room, creator)
        joins = [
            self.world.draft("m.room.member", user, {"membership": "join"}, state_key=user) for user in joined
        ]
        self.send(room, joins)
        return room

    def send(self, room: Room, drafts: Sequence[Draft]) -> None:
        """All of them in one transaction."""

        def append(txn: Transaction) -> None:
            for result in self.world.appender.append(txn, [Write(room.nid, draft) for draft in drafts]):
                if isinstance(result, MatrixError):
                    raise result

        if drafts:
            self.do(append)

    def speak(self, room: Room, sender: str, count: int) -> None:
        content = {"msgtype": "m.text", "body": "buy this"}
        self.send(room, [self.world.draft("m.room.message", sender, content) for _ in range(count)])


def count(txn: Transaction, what: str, *arguments: object) -> int:
    """Rows of `what` follows FROM."""
    rows: int = txn.value(f"SELECT count(*) FROM {what}", arguments)
    return rows


def nids(rooms: Sequence[Room]) -> list[int]:
    return [room.nid for room in rooms]
