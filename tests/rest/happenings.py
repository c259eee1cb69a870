"""What may happen to three users in their rooms, as hypothesis finds it."""

from typing import Any

from attrs import define, evolve, field, frozen
from hypothesis import strategies as st

from synapse_lite.ids import random_text
from synapse_lite.storage.rooms import room_by_id
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM, PurgeRoomParams
from tests.builders import SERVER, World
from tests.server import TestServer, path_part
from tests.tasks.steps import Steps

NAMES = ("alice", "bob", "carol")

Request = tuple[str, str, Any]  # method, path, body


@frozen
class Act:
    """Somebody tries something in a room; `n` and `target` are taken as the kind of act needs them."""

    kind: str
    who: int
    room: int
    n: int
    target: int


BY_OWNERS = (
    "invite", "kick", "ban", "unban", "name", "topic", "avatar", "setting", "visibility", "rules", "purge",
)  # fmt: skip
"""Acts for which it takes rights: who made the room does them."""
FOLLOWED = 1  # Bob, whose clients are compared
OF_FOLLOWED = ("tag", "data", "mute", "unmute", "private", "threaded", "marker")
"""Acts that concern nobody else."""
KINDS = (
    *BY_OWNERS[:-1], "setting", *("message",) * 4, "mention", "reply", "edit", "react", "redact",
    *("join",) * 3, "leave", "knock", "forget", "profile", "receipt", "receipt", "private", "threaded",
    "marker", "tag", "data", "mute", "unmute", "type", "type", "room", "revert", "return",
)  # fmt: skip
common = st.builds(
    Act, st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 3), st.integers(0, 9), st.integers(0, 2)
)
rare = st.builds(
    Act, st.sampled_from(["purge", "undo"]), st.just(0), st.integers(0, 9), st.just(0), st.just(1)
)
acts = st.sampled_from([common] * 30 + [rare]).flatmap(lambda kind: kind)
"""What is about a whole room is rare, for nothing happens there afterwards. Only of Bob, who follows the rooms, a
resolution may undo the membership: /sync has no words for state that is set no longer."""


@define
class Happenings:
    """Users and rooms of their own, on all of the servers."""

    servers: list[TestServer]
    steps: Steps
    users: list[str] = field(factory=list)
    tokens: list[str] = field(factory=list)
    rooms: list[str] = field(factory=list)
    owners: dict[str, int] = field(factory=dict)
    said: dict[str, list[str]] = field(factory=dict)
    set: dict[str, list[tuple[str, str]]] = field(factory=dict)
    number: int = 0

    async def begin(self) -> None:
        suffix = random_text(8).lower()
        for name in NAMES:
            self.users.append(f"@{name}-{suffix}:{SERVER}")
            self.tokens.append(await self.servers[0].user(f"{name}-{suffix}"))
        for kind, who, room, n, target in (
            ("room", 0, 0, 1, 0),
            ("room", 1, 0, 0, 2),
            ("room", 2, 0, 2, 1),
            ("join", 1, 0, 0, 0),
            ("join", 2, 0, 0, 0),
            ("join", 2, 1, 0, 0),
        ):
            await self.act(Act(kind, who, room, n, target))

    async def act(self, act: Act) -> None:
        """What the server refuses has not happened."""
        self.number += 1
        if act.kind in OF_FOLLOWED:
            act = evolve(act, who=FOLLOWED)
        room_id = self.rooms[act.room % len(self.rooms)] if self.rooms else ""
        match act.kind:
            case "room":
                await self._create(act)
            case "purge":
                await self.steps.run(PURGE_ROOM, PurgeRoomParams(room_id=room_id, force=True))
            case "revert" if self.set.get(room_id):
                event_id, key = self.set[room_id][-1 - act.n % len(self.set[room_id])]
                await self._revert(room_id, ("org.test", key), event_id)
            case "return":
                await self._return(act)
            case "undo" if self.owners.get(room_id) != act.target:
                await self._revert(room_id, ("m.room.member", self.users[act.target]), None)
            case _:
                await self._ask(act, room_id)

    async def _create(self, act: Act) -> None:
        preset = "public_chat" if act.n % 2 else "private_chat"
        name = {"name": f"Room {self.number}"} if act.n % 3 else {}
        invited = [self.users[act.target]] if act.target != act.who else []
        body = {"preset": preset, **name, "invite": invited}
        made = await self.servers[0].ok("POST", "createRoom", body, self.tokens[act.who])
        self.rooms.append(made["room_id"])
        self.owners[made["room_id"]] = act.who

    async def _return(self, act: Act) -> None:
        """Somebody is out of a room for a moment, in which something is said that they may not see."""
        owner = self.owners[self.rooms[act.room % len(self.rooms)]]
        away = [
            ("leave", act.who),
            ("message", owner),
            ("setting", owner),
            ("invite", owner),
            ("join", act.who),
        ]
        if act.n % 2:
            away.insert(0, ("visibility", owner))
        for kind, who in away if owner != act.who else ():
            await self.act(Act(kind, who, act.room, 1, act.who))

    async def _revert(self, room_id: str, key: tuple[str, str], event_id: str | None) -> None:
        server = self.servers[0]
        world = World.of(server.core)
        room = await server.database.read(room_by_id, room_id)
        if room is not None:
            await server.database.transact(world.revert, room, key, event_id)

    async def _ask(self, act: Act, room_id: str) -> None:
        request = self._request(act, room_id)
        if request is None:
            return
        method, path, body = request
        who = self.owners[room_id] if act.kind in BY_OWNERS else act.who
        answer = await self.servers[act.n % 2].call(method, path, body, self.tokens[who])
        assert answer.status < 500, answer.body
        if answer.status == 200 and "event_id" in answer.json():
            event_id = answer.json()["event_id"]
            self.said.setdefault(room_id, []).append(event_id)
            if act.kind == "setting":
                self.set.setdefault(room_id, []).append((event_id, str(act.n % 3)))

    def _request(self, act: Act, room_id: str) -> Request | None:
        """None: it needs an event, and there is none."""
        room, target = f"rooms/{path_part(room_id)}", self.users[act.target]
        requests: dict[str, Request] = {
            "join": ("POST", f"join/{path_part(room_id)}", {}),
            "knock": ("POST", f"knock/{path_part(room_id)}", {}),
            **{kind: ("POST", f"{room}/{kind}", {}) for kind in ("leave", "forget")},
            **{kind: ("POST", f"{room}/{kind}", {"user_id": target}) for kind in BY_OWNERS[:4]},
            **self._states(act, f"{room}/state"),
            **self._of_user(act, room_id),
            **self._sends(act, room),
        }
        return requests.get(act.kind)

    def _states(self, act: Act, path: str) -> dict[str, Request]:
        member = f"m.room.member/{path_part(self.users[act.who])}"
        visibility = ("shared", "joined", "invited")[act.n % 3]
        rule = ("public", "knock", "invite")[act.n % 3]
        contents: dict[str, tuple[str, Any]] = {
            "profile": (member, {"membership": "join", "displayname": str(act.n)}),
            "name": ("m.room.name/", {"name": "" if act.n < 3 else str(act.n)}),
            "topic": ("m.room.topic/", {"topic": str(act.n)}),
            "avatar": ("m.room.avatar/", {"url": f"mxc://{SERVER}/{act.n}"}),
            "setting": (f"org.test/{act.n % 3}", {"v": self.number}),
            "visibility": ("m.room.history_visibility/", {"history_visibility": visibility}),
            "rules": ("m.room.join_rules/", {"join_rule": rule}),
        }
        return {kind: ("PUT", f"{path}/{key}", content) for kind, (key, content) in contents.items()}

    def _of_user(self, act: Act, room_id: str) -> dict[str, Request]:
        user, room = path_part(self.users[act.who]), path_part(room_id)
        tag = f"user/{user}/rooms/{room}/tags/u.x"
        is_on = act.n % 2 == 0
        return {
            "tag": ("PUT", tag, {"order": act.n / 10}) if is_on else ("DELETE", tag, None),
            "data": ("PUT", f"user/{user}/account_data/org.test.{act.n % 2}", {"v": self.number}),
            "mute": ("PUT", f"pushrules/global/room/{room}", {"actions": []}),
            "unmute": ("DELETE", f"pushrules/global/room/{room}", None),
            "type": ("PUT", f"rooms/{room}/typing/{user}", {"typing": is_on, "timeout": 30_000}),
        }

    def _sends(self, act: Act, room: str) -> dict[str, Request]:
        text = {"msgtype": "m.text", "body": str(self.number)}
        send = f"{room}/send/m.room.message/{self.number}"
        mention = {**text, "m.mentions": {"user_ids": [self.users[act.target]]}}
        found: dict[str, Request] = {"message": ("PUT", send, text), "mention": ("PUT", send, mention)}
        said = self.said.get(self.rooms[act.room % len(self.rooms)])
        if not said:
            return found
        event_id = said[-1 - act.n % len(said)]
        receipt = f"{room}/receipt"
        edit = {**text, "m.new_content": text}
        return found | {
            "reply": ("PUT", send, {**text, **_relates("m.thread", event_id)}),
            "edit": ("PUT", send, {**edit, **_relates("m.replace", event_id)}),
            "react": (
                "PUT",
                f"{room}/send/m.reaction/{self.number}",
                _relates("m.annotation", event_id, key=str(act.n)),
            ),
            "redact": ("PUT", f"{room}/redact/{path_part(event_id)}/{self.number}", {}),
            "receipt": ("POST", f"{receipt}/m.read/{path_part(event_id)}", {}),
            "private": ("POST", f"{receipt}/m.read.private/{path_part(event_id)}", {}),
            "threaded": ("POST", f"{receipt}/m.read.private/{path_part(event_id)}", {"thread_id": "main"}),
            "marker": ("POST", f"{room}/read_markers", {"m.fully_read": event_id}),
        }


def _relates(rel_type: str, event_id: str, **more: str) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": rel_type, "event_id": event_id, **more}}
