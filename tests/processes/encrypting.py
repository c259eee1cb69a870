"""Clients that encrypt, each a thread, while the processes of the server are killed; and what must hold of it all.

Whoever gets no answer asks again, the same thing of another process, as clients do.
"""

import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from random import Random
from threading import Event, Lock
from typing import Any

from attrs import define, field, frozen

from synapse_lite.cli.api import ApiError
from synapse_lite.cli.demo.connection import Connection
from tests.signing import Device

CLIENT = "/_matrix/client/v3"
ALGORITHM = "signed_curve25519"
KEYS_AT_ONCE = 5
POLL_MS = 200


@frozen
class Renaming:
    """A change of a user's devices: by the monotonic clock, from the request to the answer."""

    user_id: str
    began: float
    ended: float


@frozen
class Answer:
    """Of a /sync, by the monotonic clock."""

    began: float
    ended: float
    changed: frozenset[str]


@frozen
class Life:
    """Of a device that comes and goes under one id, by the monotonic clock: `ended` is when its end was answered."""

    keys: frozenset[str]
    ending: float
    ended: float


@define
class Ledger:
    """What happened, as the clients know it."""

    lock: Lock = field(factory=Lock)
    uploaded: set[str] = field(factory=set)
    claimed: Counter[str] = field(factory=Counter)
    sent: dict[tuple[str, str], list[int]] = field(factory=dict)  # by sender and receiver
    received: dict[tuple[str, str], list[int]] = field(factory=dict)
    renamings: list[Renaming] = field(factory=list)
    answers: dict[str, list[Answer]] = field(factory=dict)
    claims_began: dict[str, float] = field(factory=dict)  # by key
    lives: list[Life] = field(factory=list)
    passed_on: dict[int, float] = field(factory=dict)  # when the request to send it was answered
    passing_received: list[tuple[int, int]] = field(factory=list)  # how many lives were over, and the message

    def counts(self) -> tuple[int, ...]:
        """Of each kind of deed, how often it is done."""
        with self.lock:
            return (
                len(self.uploaded),
                len(self.claimed),
                len(self.renamings),
                sum(map(len, list(self.received.values()))),
                sum(map(len, list(self.answers.values()))),
            )

    def check(self) -> None:
        """No key twice and none from nowhere; every message once and in order; no change of devices missed."""
        assert [key for key, times in self.claimed.items() if times > 1] == []
        assert self.claimed.keys() <= self.uploaded
        assert self.received == {pair: numbers for pair, numbers in self.sent.items() if numbers}
        for reader, answers in self.answers.items():
            for renaming in self.renamings:
                assert _is_told(renaming, answers), f"{reader} missed {renaming}"
        self._check_lives()

    def _check_lives(self) -> None:
        """What a device had ends with it, for its successor as for everybody else."""
        for life in self.lives:
            late = [key for key in life.keys if self.claims_began.get(key, 0.0) > life.ended]
            assert late == [], "keys of a device that was gone"
        numbers = [number for _, number in self.passing_received]
        assert len(numbers) == len(set(numbers)), "a message came twice"
        for over, number in self.passing_received:
            last_end = self.lives[over - 1].ending if over else 0.0
            assert self.passed_on.get(number, last_end) >= last_end, "a message to a device that was gone"


def _is_told(renaming: Renaming, answers: list[Answer]) -> bool:
    """By an answer after the change began, up to the first one that was asked for after it."""
    for answer in answers:
        if answer.ended >= renaming.began and renaming.user_id in answer.changed:
            return True
        if answer.began > renaming.ended:
            return False
    return False


@define
class Client:
    """A device; each of its threads has connections of its own, to the processes in turn."""

    urls: list[str]
    device: Device
    token: str
    ledger: Ledger
    random: Random
    since: str | None = None
    _numbers: Any = field(factory=lambda: count(1))

    @property
    def user_id(self) -> str:
        return self.device.signer.user_id

    @property
    def device_id(self) -> str:
        return self.device.signer.name

    def call(self, method: str, path: str, body: Any = None, *, again: bool = True) -> Any:
        """Until there is an answer; None when there is none and it is not to be asked `again`."""
        while True:
            with Connection(self.random.choice(self.urls), self.token) as connection:
                try:
                    return connection.call(method, f"{CLIENT}{path}", body)
                except ApiError as error:
                    if error.status not in (0, 503):
                        raise
            if not again:
                return None
            time.sleep(0.05)

    def upload(self) -> None:
        names = [f"K{next(self._numbers):06}" for _ in range(KEYS_AT_ONCE)]
        keys = self.device.one_time_keys(*names)
        with self.ledger.lock:
            self.ledger.uploaded |= {value["key"] for value in keys.values()}
        self.call("POST", "/keys/upload", {"device_keys": self.device.keys, "one_time_keys": keys})

    def claim(self, other: "Client") -> None:
        """A claim without an answer has cost a key: nobody knows whether it was given out."""
        began = time.monotonic()
        wanted = {"one_time_keys": {other.user_id: {other.device_id: ALGORITHM}}}
        answer = self.call("POST", "/keys/claim", wanted, again=False)
        for devices in (answer or {"one_time_keys": {}})["one_time_keys"].values():
            with self.ledger.lock:
                given = [key["key"] for keys in devices.values() for key in keys.values()]
                self.ledger.claimed.update(given)
                self.ledger.claims_began |= dict.fromkeys(given, began)

    def send(self, others: list["Client"]) -> None:
        number = next(self._numbers)
        messages: dict[str, dict[str, Any]] = {}
        for other in others:
            content = {"number": number, "from": self.device_id}
            messages.setdefault(other.user_id, {})[other.device_id] = content
            self.ledger.sent.setdefault((self.device_id, other.device_id), []).append(number)
        self.call("PUT", f"/sendToDevice/m.test/{number}", {"messages": messages})

    def send_in_passing(self, other: "Passing") -> None:
        number = next(self._numbers)
        body = {"messages": {other.user_id: {other.device_id: {"number": number, "from": self.device_id}}}}
        self.call("PUT", f"/sendToDevice/m.passing/{number}", body)
        with self.ledger.lock:
            self.ledger.passed_on[number] = time.monotonic()

    def rename(self) -> None:
        began = time.monotonic()
        body = {"display_name": f"name {next(self._numbers)}"}
        self.call("PUT", f"/devices/{self.device_id}", body)
        with self.ledger.lock:
            self.ledger.renamings.append(Renaming(self.user_id, began, time.monotonic()))

    def sync(self) -> int:
        """How many messages came."""
        began = time.monotonic()
        since = "" if self.since is None else f"&since={self.since}"
        answer = self.call("GET", f"/sync?timeout={POLL_MS}{since}")
        self.since = answer["next_batch"]
        messages = answer.get("to_device", {}).get("events", [])
        for message in messages:
            pair = message["content"]["from"], self.device_id
            self.ledger.received.setdefault(pair, []).append(message["content"]["number"])
        changed = frozenset(answer.get("device_lists", {}).get("changed", ()))
        told = Answer(began, time.monotonic(), changed)
        self.ledger.answers.setdefault(self.device_id, []).append(told)
        return len(messages)


@define
class Passing(Client):
    """A device that is logged in, deleted, and logged in again under the same id."""

    def live(self) -> None:
        """One life: keys, what others sent meanwhile, the end."""
        body = {"type": "m.login.password", "user": self.user_id, "password": "secret"}
        self.token = self.call("POST", "/login", {**body, "device_id": self.device_id})["access_token"]
        self.device = Device.of(self.user_id, self.device_id)
        names = [f"P{next(self._numbers):06}" for _ in range(KEYS_AT_ONCE)]
        keys = self.device.one_time_keys(*names)
        public = frozenset(value["key"] for value in keys.values())
        with self.ledger.lock:
            self.ledger.uploaded |= public
        self.call("POST", "/keys/upload", {"device_keys": self.device.keys, "one_time_keys": keys})
        since = None
        for _ in range(2):
            query = "" if since is None else f"&since={since}"
            answer = self.call("GET", f"/sync?timeout={POLL_MS}{query}")
            since = answer["next_batch"]
            for message in answer.get("to_device", {}).get("events", []):
                self.ledger.passing_received.append((len(self.ledger.lives), message["content"]["number"]))
        self._end(public)

    def _end(self, keys: frozenset[str]) -> None:
        began = time.monotonic()
        try:
            self.call("POST", "/logout", {})
        except ApiError as error:
            if error.status != 401:  # the answer to the first request was lost
                raise
        ended = time.monotonic()
        with self.ledger.lock:
            self.ledger.lives.append(Life(keys, began, ended))
            self.ledger.renamings.append(Renaming(self.user_id, began, ended))


def repeat(do: Callable[[], object], is_over: Event) -> None:
    while not is_over.is_set():
        do()
