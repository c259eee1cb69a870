"""Three servers of ours and a Synapse in common rooms: cut off from each other, killed, and at odds about who may do what.

Afterwards all of them have to show the same state of every room, and nothing that was allowed may be missing anywhere.

Each server has a moderator whom nobody touches, and somebody who is kicked, banned, raised and lowered. What a moderator
said is accepted everywhere. What the others said, or who was let in or shut out, may be soft-failed by a server that knew better
than theirs, but is nowhere rejected, nor missing; only Synapse may lack it, where it has a hole in its history.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

from attrs import define, field, frozen

from synapse_lite.cli.api import ApiError
from tests.chaos.agreement import misjudged
from tests.chaos.federated_servers import Ours, Person, Server, Theirs, federated_servers
from tests.chaos.links import Links
from tests.chaos.records import SOFT_FAILED, explain
from tests.processes.harness import wait_until

VERSIONS = ("6", "10", "11", "12")
LEVELS = {"owner": 100, "moderator": 50}
BEAT = (0.3, 1.5)  # seconds from one fault to the next
PAUSE = (0.05, 0.3)  # of a user
ROUNDS = 20
PAUSE_FOR_WORK = 5.0  # seconds after which what was said is known to wait somewhere
STANDSTILL = 600.0  # seconds in which one event at least is worked off


@frozen
class Sent:
    """What a server took of one of its users."""

    room: str
    event_id: str


@define
class Federation:
    """`rooms` by the version of each."""

    servers: Sequence[Server]
    links: Links
    seed: int
    rooms: dict[str, str] = field(factory=dict)
    sent: list[Sent] = field(factory=list)
    done: Counter[str] = field(factory=Counter)
    _ended: threading.Event = field(factory=threading.Event)
    _strikes: dict[str, threading.Thread] = field(factory=dict)

    def open_rooms(self) -> None:
        """One of each version, by turns of each server; everybody is in all of them."""
        for number, version in enumerate(VERSIONS):
            owner = self.servers[number % len(self.servers)]
            levels = {one.moderator.user_id: LEVELS["moderator"] for one in self.servers if one is not owner}
            if version != "12":
                levels[owner.moderator.user_id] = LEVELS["owner"]
            body = {
                "preset": "public_chat",
                "room_version": version,
                "power_level_content_override": {"users": levels},
            }
            room = self.rooms[version] = owner.moderator.ask("POST", "createRoom", body)["room_id"]
            for person in (one for server in self.servers for one in (server.moderator, server.other)):
                wait_until(lambda: person.enters(room, owner.name), f"{person.user_id} in {room}")  # noqa: B023
        self._wait_for_agreement()

    def run(self, seconds: float) -> None:
        """Everybody does what they like, while the ground shakes."""
        threads = [threading.Thread(target=self._live, args=(server,)) for server in self.servers]
        for thread in threads:
            thread.start()
        random = Random(self.seed)
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                self._strike(random)
                time.sleep(random.uniform(*BEAT))
        finally:
            self._ended.set()
            for thread in (*threads, *self._strikes.values()):
                thread.join()
            self.links.heal()

    def settle(self) -> None:
        """AssertionError unless all servers agree in the end: on the state, and on what has happened."""
        self._wait_for_agreement()
        for _ in range(ROUNDS):
            self._scroll()
            misjudged = self._misjudged()
            if not misjudged:
                break
            time.sleep(PAUSE_FOR_WORK)
        else:
            raise AssertionError(self._explained(misjudged))
        for server in self.servers:
            records = [server.host.records().of(room) for room in self.rooms.values()]
            self.done[f"soft-failed by {server.name}"] = sum(
                one.standing == SOFT_FAILED for record in records for one in record.events.values()
            )

    def __str__(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in sorted(self.done.items()))

    # Faults

    def _strike(self, random: Random) -> None:
        fault = random.choices(["cut", "heal", "strike"], [6, 3, 2])[0]
        if fault == "cut":
            one, other = random.choice(list(combinations(self.servers, 2)))
            self.links.cut(one.name, other.name)
        elif fault == "heal":
            self.links.heal()
        else:
            server = random.choice([one for one in self.servers if isinstance(one.host, Ours)])
            running = self._strikes.get(server.name)
            if running is not None and running.is_alive():
                return
            self._strikes[server.name] = threading.Thread(target=server.host.strike, args=(random,))
            self._strikes[server.name].start()
        self.done[f"times {fault}"] += 1

    # What people do

    def _live(self, server: Server) -> None:
        random = Random(f"{self.seed} {server.name}")
        while not self._ended.is_set():
            room = random.choice(list(self.rooms.values()))
            try:
                self._act(server, room, random)
            except ApiError as error:
                self.done[f"answers {error.status}"] += 1
            time.sleep(random.uniform(*PAUSE))

    def _act(self, server: Server, room: str, random: Random) -> None:
        person = random.choice([server.moderator, server.moderator, server.other])
        anybody = random.choice(self.servers).other.user_id
        whats = ["says", "topic", "member", "joins", "levels", "redacts"]
        what = random.choices(whats, [10, 3, 4, 3, 1, 2])[0]
        if what == "says":
            content = {"msgtype": "m.text", "body": str(random.random())}
            self._note(room, person.send(room, "m.room.message", content))
        elif what == "topic":
            self._note(room, person.send(room, "m.room.topic", {"topic": str(random.random())}, ""))
        elif what == "member":
            action = random.choice(["kick", "ban", "unban", "invite"])
            person.ask("POST", f"rooms/{quote(room)}/{action}", {"user_id": anybody})
        elif what == "joins":
            person = server.other
            action = random.choice(["join", "join", "leave"])
            person.ask("POST", f"rooms/{quote(room)}/{action}", {})
        elif what == "levels":
            self._raise(person, room, anybody, random)
        elif self.sent:
            target = random.choice(self.sent[-20:])
            path = f"rooms/{quote(target.room)}/redact/{quote(target.event_id)}/{time.time_ns()}"
            self._note(target.room, person.ask("PUT", path, {})["event_id"])
        self.done[what] += 1

    def _raise(self, person: Person, room: str, user_id: str, random: Random) -> None:
        """Before version 11 a redaction takes from power levels who may invite: who hears of them later judges otherwise than who knew them."""
        path = f"rooms/{quote(room)}/state/m.room.power_levels/"
        levels = person.ask("GET", path)
        levels["users"] = {**levels["users"], user_id: random.choice([0, 10, 49])}
        person.send(room, "m.room.power_levels", levels, "")  # not noted: no power levels are redacted

    def _note(self, room: str, event_id: str) -> None:
        self.sent.append(Sent(room, event_id))

    # The end

    def _wait_for_agreement(self) -> None:
        """In rounds: when all has been worked off, everybody says something, since what a server lacks it asks for when it hears of
        something newer. How long it takes decides nothing.
        """
        for _ in range(ROUNDS):
            self._work_off()
            differing = self._differences()
            if not differing:
                return
            self._say_something()
            time.sleep(PAUSE_FOR_WORK)
        raise AssertionError(self._explained(differing))

    def _work_off(self) -> None:
        """Until no event waits anywhere; AssertionError when there are no fewer for long."""
        fewest, deadline = float("inf"), time.monotonic() + STANDSTILL
        while waiting := sum(server.host.records().waiting() for server in self.servers):
            if waiting < fewest:
                fewest, deadline = waiting, time.monotonic() + STANDSTILL
            assert time.monotonic() < deadline, self._explained([f"{waiting} events wait"])
            time.sleep(0.5)

    def _say_something(self) -> None:
        content = {"msgtype": "m.text", "body": "still here"}
        for server in self.servers:
            for room in self.rooms.values():
                self._note(room, server.moderator.send(room, "m.room.message", content))

    def _differences(self) -> list[str]:
        found = []
        for version, room in self.rooms.items():
            states = {server.name: server.moderator.state(room) for server in self.servers}
            for key in sorted({key for state in states.values() for key in state}):
                values = {name: state.get(key) for name, state in states.items()}
                if len(set(values.values())) > 1:
                    found.append(f"version {version}, {room}: {key} is {values}")
        return found

    def _explained(self, differing: Sequence[str]) -> str:
        """With what each server has of the rooms."""
        records = {server.name: server.host.records() for server in self.servers}
        rooms = {
            version: room for version, room in self.rooms.items() if any(room in one for one in differing)
        }
        explained = [
            f"version {version}, {room}\n{explain(records, room)}" for version, room in rooms.items()
        ]
        return "\n".join([*differing, *explained])

    def _scroll(self) -> None:
        """Servers fetch what they had not heard of."""
        for server in self.servers:
            for room in self.rooms.values():
                server.moderator.scroll(room)

    def _misjudged(self) -> list[str]:
        """Of all events that are known to anybody, what a server lacks, or judges otherwise than it may."""
        return [
            f"version {version}, {room}: {name} {line}"
            for version, room in self.rooms.items()
            for name, lines in self._misjudged_in(room).items()
            for line in lines
        ]

    def _misjudged_in(self, room: str) -> dict[str, list[str]]:
        found = {server.name: server.host.records().of(room) for server in self.servers}
        moderators = {one.moderator.user_id for one in self.servers}
        (theirs,) = (one.name for one in self.servers if isinstance(one.host, Theirs))
        known = {one for records in found.values() for one in records.events}
        lost = [one.event_id for one in self.sent if one.room == room and one.event_id not in known]
        return {**misjudged(found, moderators, theirs), "nobody": [f"has {one}" for one in lost]}


@contextmanager
def federation(directory: Path, databases: Sequence[Mapping[str, Any]], seed: int) -> Iterator[Federation]:
    """Of a server of ours on each of the databases, and a Synapse."""
    with federated_servers(directory, databases) as (servers, links):
        yield Federation(servers, links, seed)
