"""Clients that never stop writing into one room, each through a process of its own."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from random import Random
from threading import Event, Thread
from typing import Any
from urllib.parse import quote

from attrs import define, field, frozen

from synapse_lite.cli.api import ApiError
from synapse_lite.cli.demo.connection import Connection, User
from synapse_lite.cli.demo.traffic import room_path
from tests.processes.harness import wait_until
from tests.processes.site import SERVER, say

CLIENT = "/_matrix/client/v3"
DEEDS = {
    *(
        "say",
        "state",
        "redact",
        "rejoin",
        "invite",
        "receipt",
        "typing",
        "account data",
        "tag",
        "alias",
        "read",
    ),
}
ELSEWHERE = {"rename", "sync"}
"""What has an answer also when the room is gone."""


@frozen
class Answer:
    """`began` on the monotonic clock. `event_id`: of what was sent, if anything was."""

    deed: str
    began: float
    status: int
    errcode: str
    event_id: str | None


@define
class Racer:
    """A member; everything they do is in `answers`, in order. `rounds` counts how often they have done it all."""

    user: User
    room_id: str
    seed: int
    answers: list[Answer] = field(factory=list)
    rounds: int = 0
    _numbers: Iterator[int] = field(factory=lambda: count(1))
    _last: str = ""

    def race(self, is_over: Event) -> None:
        random = Random(self.seed)
        with self.user.connect() as connection:
            deeds = self._deeds(connection)
            self._do("say", deeds["say"])
            while not is_over.is_set():
                for deed in random.sample(sorted(deeds), len(deeds)):
                    self._do(deed, deeds[deed])
                self.rounds += 1

    def _do(self, deed: str, function: Callable[[], Any]) -> None:
        began = time.monotonic()
        try:
            answer = function()
        except ApiError as error:
            self.answers.append(Answer(deed, began, error.status, error.errcode, None))
        else:
            event_id = answer.get("event_id")
            self._last = event_id or self._last
            self.answers.append(Answer(deed, began, 200, "", event_id))

    def _deeds(self, connection: Connection) -> dict[str, Callable[[], Any]]:
        me = quote(self.user.user_id)
        mine = f"{CLIENT}/user/{me}/rooms/{quote(self.room_id)}"
        call = connection.call

        def here(*words: str) -> str:
            return room_path(self.room_id, *words)

        def number() -> str:
            return f"{self.seed}-{next(self._numbers)}"

        def rejoin() -> Any:
            call("POST", here("leave"), {})
            return call("POST", here("join"), {})

        return {
            "say": lambda: {"event_id": say(connection, self.room_id, number())},
            "state": lambda: call("PUT", here("state", "m.room.topic"), {"topic": number()}),
            "redact": lambda: call("PUT", here("redact", quote(self._last), number()), {}),
            "rejoin": rejoin,
            "invite": lambda: call("POST", here("invite"), {"user_id": f"@guest{number()}:{SERVER}"}),
            "receipt": lambda: call("POST", here("receipt", "m.read", quote(self._last)), {}),
            "typing": lambda: call("PUT", here("typing", me), {"typing": True, "timeout": 30_000}),
            "account data": lambda: call("PUT", f"{mine}/account_data/test.race", {"number": number()}),
            "tag": lambda: call("PUT", f"{mine}/tags/u.race", {}),
            "alias": lambda: call("PUT", _directory(f"#race{number()}:{SERVER}"), {"room_id": self.room_id}),
            "rename": lambda: call("PUT", f"{CLIENT}/profile/{me}/displayname", {"displayname": number()}),
            "read": lambda: call("GET", here("messages?dir=b&limit=20")),
            "sync": lambda: call("GET", f"{CLIENT}/sync?timeout=0"),
        }


@contextmanager
def racing(racers: Sequence[Racer]) -> Iterator[None]:
    """From when each has done everything once, until each has done it once more."""
    is_over = Event()
    threads = [Thread(target=racer.race, args=(is_over,), daemon=True) for racer in racers]
    for thread in threads:
        thread.start()
    try:
        wait_for_rounds(racers, 1)
        yield
        wait_for_rounds(racers, 2)  # one that has begun, and one more
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def wait_for_rounds(racers: Sequence[Racer], rounds: int) -> None:
    """Until each has done everything so many times more, counted by ends."""
    goals = [racer.rounds + rounds for racer in racers]
    wait_until(
        lambda: all(racer.rounds >= goal for racer, goal in zip(racers, goals, strict=True)),
        f"{rounds} more rounds of everybody",
    )


def _directory(alias: str) -> str:
    return f"{CLIENT}/directory/room/{quote(alias)}"
