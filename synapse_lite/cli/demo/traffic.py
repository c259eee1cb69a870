"""Users, rooms, and a spammer who fills them, all through the client API."""

import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import quote

import attrs

from synapse_lite.cli.api import register
from synapse_lite.cli.demo.connection import DemoError, User
from synapse_lite.cli.demo.stages import Stages
from synapse_lite.cli.ready import Ready

AT_ONCE = 8  # users of the API at the same time
_CLIENT = "/_matrix/client/v3"
_CHUNK = 20  # sends that an interruption waits for, at most, in each thread

T = TypeVar("T")
R = TypeVar("R")


class Stance(StrEnum):
    """How the spammer stands in a room when the redaction begins."""

    BANNED = "banned"
    LEFT = "left"
    JOINED = "joined"


@attrs.frozen
class Plan:
    """`messages` of the spammer, shared out evenly among the rooms."""

    rooms: int
    messages: int

    def stances(self) -> list[Stance]:
        stances = [Stance.BANNED, Stance.LEFT, *itertools.repeat(Stance.JOINED, max(0, self.rooms - 2))]
        return stances[: self.rooms]

    def shares(self) -> list[int]:
        each, more = divmod(self.messages, self.rooms)
        return [each + (number < more) for number in range(self.rooms)]


@attrs.frozen
class Cast:
    """Who takes part. `marker` is in the spammer's name and in everything that they send, and nowhere else."""

    admin: User
    owner: User
    member: User
    spammer: User
    marker: str


@attrs.frozen
class Room:
    room_id: str
    stance: Stance
    messages: int


def concurrently(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Results in order. After the first error nothing more is begun."""
    executor = ThreadPoolExecutor(AT_ONCE)
    try:
        return [future.result() for future in [executor.submit(function, item) for item in items]]
    finally:
        executor.shutdown(cancel_futures=True)


def room_path(room_id: str, *words: str) -> str:
    return "/".join((f"{_CLIENT}/rooms/{quote(room_id, safe='')}", *words))


def assemble_cast(ready: Ready, stages: Stages) -> Cast:
    """New users; on a new server its administrator, on another one a new administrator."""
    suffix = "" if ready.admin else f"-{secrets.token_hex(3)}"

    def enter(role: str) -> User:
        if role == "admin" and ready.admin:
            admin = ready.admin
            return User(ready.base_url, admin.user_id, admin.password, admin.access_token)
        return _register(ready, f"{role}{suffix}", is_admin=role == "admin")

    with stages.stage("Registering users", 4) as stage:
        users = []
        for user in concurrently(enter, ("admin", "owner", "member", "spammer")):
            users.append(user)
            stage.advance()
    admin, owner, member, spammer = users
    return Cast(admin, owner, member, spammer, f"spam{secrets.token_hex(8)}")


def create_rooms(cast: Cast, plan: Plan, stages: Stages) -> list[Room]:
    """Everyone but the administrator is in every room, and its owner has said a word."""
    with cast.spammer.connect() as spammer:
        path = f"{_CLIENT}/profile/{quote(cast.spammer.user_id)}/displayname"
        spammer.call("PUT", path, {"displayname": f"Cheap {cast.marker}"})
    with stages.stage("Creating rooms", plan.rooms) as stage:

        def create(number: int) -> str:
            with cast.owner.connect() as owner:
                body = {"preset": "public_chat", "name": f"Demo {number}"}
                room_id: str = owner.call("POST", f"{_CLIENT}/createRoom", body)["room_id"]
                path = room_path(room_id, "send/m.room.message/welcome")
                owner.call("PUT", path, {"msgtype": "m.text", "body": "Welcome!"})
            for user in (cast.member, cast.spammer):
                with user.connect() as connection:
                    connection.call("POST", room_path(room_id, "join"), {})
            stage.advance()
            return room_id

        room_ids = concurrently(create, range(1, plan.rooms + 1))
    return [Room(*room) for room in zip(room_ids, plan.stances(), plan.shares(), strict=True)]


def send_spam(cast: Cast, rooms: Sequence[Room], stages: Stages) -> None:
    """Several senders at once, room after room in turn."""
    with stages.stage("Sending messages", sum(room.messages for room in rooms)) as stage:

        def send(chunk: Sequence[tuple[str, int]]) -> None:
            with cast.spammer.connect() as spammer:
                for room_id, number in chunk:
                    body = {"msgtype": "m.text", "body": f"Buy {cast.marker}, offer {number}"}
                    spammer.call("PUT", room_path(room_id, f"send/m.room.message/{number}"), body)
                    stage.advance()

        concurrently(send, _chunks(_turns(rooms)))


def part(cast: Cast, rooms: Sequence[Room]) -> None:
    """The spammer is banned from rooms, and leaves others."""
    with cast.owner.connect() as owner, cast.spammer.connect() as spammer:
        for room in rooms:
            if room.stance is Stance.BANNED:
                owner.call("POST", room_path(room.room_id, "ban"), {"user_id": cast.spammer.user_id})
            elif room.stance is Stance.LEFT:
                spammer.call("POST", room_path(room.room_id, "leave"), {})


def _register(ready: Ready, name: str, *, is_admin: bool) -> User:
    secret = ready.registration_shared_secret
    if secret is None:
        raise DemoError("the server has no registration_shared_secret")
    password = secrets.token_urlsafe(18)
    answer = register(ready.base_url, secret, username=name, password=password, admin=is_admin)
    return User(ready.base_url, answer["user_id"], password, answer["access_token"])


def _turns(rooms: Sequence[Room]) -> Iterator[tuple[str, int]]:
    for number in range(max(room.messages for room in rooms)):
        yield from ((room.room_id, number) for room in rooms if number < room.messages)


def _chunks(sends: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(itertools.islice(sends, _CHUNK)):
        yield chunk
