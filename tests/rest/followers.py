"""Clients that keep what they are told: one follows /sync, one sliding sync. Both must end with the same."""

import json
from collections.abc import Sequence
from typing import Any

from attrs import define, field

from tests.server import TestServer, path_part

SLIDING = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
MERGED = "/_matrix/client/v4/sync"
PAGE = 50
MEMBER = "m.room.member"

Json = dict[str, Any]


@define
class KnownRoom:
    """What a client holds of a room. `receipts`: the event by reader and type; `look`: as sliding sync has it."""

    membership: str
    state: dict[tuple[str, str], str] = field(factory=dict)
    contents: dict[tuple[str, str], Json] = field(factory=dict)
    timeline: list[str] = field(factory=list)
    counts: tuple[int, int] = (0, 0)
    account_data: dict[str, Json] = field(factory=dict)
    receipts: dict[tuple[str, str], str] = field(factory=dict)
    typing: list[str] = field(factory=list)
    look: Json = field(factory=dict)

    def apply(self, events: Sequence[Json]) -> None:
        for event in events:
            if "state_key" in event:
                key = event["type"], event["state_key"]
                self.state[key] = event.get("event_id", "")
                is_redacted = "redacted_because" in event.get("unsigned", {})
                self.contents[key] = _redacted(event["content"]) if is_redacted else event["content"]
        self.redact(events)

    def redact(self, events: Sequence[Json]) -> None:
        """State that one holds is emptied by redactions of it."""
        gone = {event["content"].get("redacts") for event in events if event["type"] == "m.room.redaction"}
        for key, event_id in self.state.items():
            if event_id in gone:
                self.contents[key] = _redacted(self.contents[key])

    def hear(self, event: Json, user_id: str) -> None:
        """A receipt, or who types. One's own receipts are not kept: there may be one a thread."""
        if event["type"] == "m.typing":
            self.typing = sorted(event["content"]["user_ids"])
            return
        for event_id, by_type in event["content"].items():
            for receipt_type, users in by_type.items():
                for reader in users.keys() - {user_id}:
                    self.receipts[reader, receipt_type] = event_id

    def put(self, events: Sequence[Json]) -> None:
        self.account_data |= {event["type"]: event["content"] for event in events}

    def look_of_state(self) -> Json:
        name = self.contents.get(("m.room.name", ""), {}).get("name")
        avatar = self.contents.get(("m.room.avatar", ""), {}).get("url")
        members = [
            content.get("membership") for (kind, _), content in self.contents.items() if kind == MEMBER
        ]
        return {
            "name": name or None,
            "avatar": avatar,
            "joined_count": members.count("join"),
            "invited_count": members.count("invite"),
        }


@define
class Follower:
    """`rooms` are those that the user is in, is invited to, or asks to enter."""

    user_id: str
    token: str
    rooms: dict[str, KnownRoom] = field(factory=dict)
    account_data: dict[str, Json] = field(factory=dict)

    async def take(
        self, server: TestServer, room_id: str, room: KnownRoom, events: Sequence[Json], start: str | None
    ) -> None:
        """A timeline; from `start` backwards what is missing before it."""
        ids = [event["event_id"] for event in events]
        fresh = [event_id for event_id in ids if event_id not in room.timeline]
        meets = len(fresh) < len(ids)
        while start is not None and not meets:
            path = f"rooms/{path_part(room_id)}/messages?dir=b&limit={PAGE}&from={start}"
            page = await server.ok("GET", path, None, self.token)
            room.redact(page["chunk"])
            older = [event["event_id"] for event in page["chunk"]]
            unknown = [event_id for event_id in older if event_id not in room.timeline]
            fresh = unknown[::-1] + fresh
            meets, start = len(unknown) < len(older), page.get("end")
        room.timeline += fresh

    def membership_in(self, events: Sequence[Json], default: str) -> str:
        own = [e for e in events if e["type"] == MEMBER and e.get("state_key") == self.user_id]
        return own[-1]["content"]["membership"] if own else default


@define
class SyncFollower(Follower):
    """`apart`: the counts of threads are not in those of rooms."""

    since: str | None = None
    apart: bool = False

    async def sync(self, server: TestServer, limit: int) -> None:
        timeline = {"limit": limit, "unread_thread_notifications": self.apart}
        wanted = path_part(json.dumps({"room": {"timeline": timeline}}))
        path = f"sync?filter={wanted}" + (f"&since={self.since}" if self.since else "")
        answer = await server.ok("GET", path, None, self.token)
        self.account_data |= {
            event["type"]: event["content"] for event in answer.get("account_data", {}).get("events", ())
        }
        rooms = answer.get("rooms", {})
        for room_id in rooms.get("leave", {}):
            self.rooms.pop(room_id, None)
        for section in ("invite", "knock"):
            for room_id, shown in rooms.get(section, {}).items():
                self.rooms[room_id] = KnownRoom(section)
                self.rooms[room_id].apply(shown[f"{section}_state"]["events"])
        for room_id, shown in rooms.get("join", {}).items():
            await self._room(server, room_id, shown)
        self.since = answer["next_batch"]

    async def _room(self, server: TestServer, room_id: str, shown: Json) -> None:
        known = self.rooms.get(room_id)
        if known is None or known.membership != "join":
            known = self.rooms[room_id] = KnownRoom("join")
        timeline = shown["timeline"]
        known.apply([*shown["state"]["events"], *timeline["events"]])
        start = timeline["prev_batch"] if timeline["limited"] else None
        await self.take(server, room_id, known, timeline["events"], start)
        known.put(shown["account_data"]["events"])
        for event in shown["ephemeral"]["events"]:
            known.hear(event, self.user_id)
        if "unread_notifications" in shown:
            known.counts = _counts(shown["unread_notifications"])
        known.look = known.look_of_state()


@define
class SlidingFollower(Follower):
    """`listed`: the rooms of each list by index, as far as its windows reached in the last answer."""

    pos: str | None = None
    listed: dict[str, dict[int, str]] = field(factory=dict)
    last: Json = field(factory=dict)

    async def sync(self, server: TestServer, body: Json, *, is_lost: bool = False) -> None:
        """A lost answer is as if it had never been."""
        answer = await self._ask(server, body)
        if is_lost:
            return
        self.last = answer
        self.listed = {
            name: {
                span["range"][0] + index: room_id
                for span in one.get("ops", ())
                for index, room_id in enumerate(span["room_ids"])
            }
            for name, one in answer.get("lists", {}).items()
        }
        for room_id, shown in answer["rooms"].items():
            await self._room(server, room_id, shown)
        self._extensions(answer["extensions"])
        self.pos = answer["pos"]

    async def _ask(self, server: TestServer, body: Json) -> Json:
        path = SLIDING + (f"?pos={self.pos}" if self.pos else "")
        answer: Json = await server.ok("POST", path, body, self.token)
        return answer

    async def _room(self, server: TestServer, room_id: str, shown: Json) -> None:
        if "invite_state" in shown:
            room = self.rooms[room_id] = KnownRoom(self.membership_in(shown["invite_state"], ""))
            room.apply(shown["invite_state"])
            return
        events = [*shown.get("required_state", ()), *shown.get("timeline", ())]
        if self.membership_in(events, "join") != "join":
            self.rooms.pop(room_id, None)
            return
        if shown.get("initial"):
            self.rooms[room_id] = KnownRoom("join", look={"name": None, "avatar": None})
        room = self.rooms[room_id]
        room.apply(events)
        start = shown["prev_batch"] if shown.get("limited") else None
        await self.take(server, room_id, room, shown.get("timeline", ()), start)
        if "notification_count" in shown:
            room.counts = _counts(shown)
        if "heroes" in shown:  # only a room without a name has them
            room.look["name"] = None
        room.look |= {
            name: shown[name] for name in ("name", "avatar", "joined_count", "invited_count") if name in shown
        }
        # This form has no word for an avatar that is gone; the state and the redactions tell.
        if "url" not in room.contents.get(("m.room.avatar", ""), {"url": ""}):
            room.look["avatar"] = None

    def _extensions(self, shown: Json) -> None:
        data = shown.get("account_data", {})
        self.account_data |= {event["type"]: event["content"] for event in data.get("global", ())}
        for room_id, events in data.get("rooms", {}).items():
            self.rooms[room_id].put(events)
        for name in ("receipts", "typing"):
            for room_id, event in shown.get(name, {}).get("rooms", {}).items():
                self.rooms[room_id].hear(event, self.user_id)


@define
class MergedFollower(SlidingFollower):
    """The same by the form in which MSC4186 was merged; what it is asked is given in the other one."""

    async def _ask(self, server: TestServer, body: Json) -> Json:
        asked = {
            **body,
            "lists": {name: self._list(one) for name, one in body.get("lists", {}).items()},
            "room_subscriptions": {
                room_id: self._config(one) for room_id, one in body.get("room_subscriptions", {}).items()
            },
            **({"pos": self.pos} if self.pos else {}),
        }
        answer: Json = await server.ok("POST", MERGED, asked, self.token)
        memberships = {room_id: room["membership"] for room_id, room in answer["rooms"].items()}
        rooms = {room_id: self._as_before(room) for room_id, room in answer["rooms"].items()}
        for room_id, room in rooms.items():
            events = room.get("invite_state") or [*room.get("required_state", ()), *room.get("timeline", ())]
            assert self.membership_in(events, memberships[room_id]) == memberships[room_id]
        return {**answer, "rooms": rooms}

    def _list(self, one: Json) -> Json:
        starts, ends = zip(*one["ranges"], strict=True)
        filters = dict(one.get("filters", {}))
        if "is_invite" in filters:
            filters["is_invited"] = filters.pop("is_invite")
        return {**self._config(one), "range": [min(starts), max(ends)], "filters": filters}

    def _config(self, one: Json) -> Json:
        pairs = [pair for pair in one["required_state"] if pair[1] != "$LAZY"]
        include = [
            {
                **({"type": kind} if kind != "*" else {}),
                **({"state_key": self.user_id if key == "$ME" else key} if key != "*" else {}),
            }
            for kind, key in pairs
        ]
        required = {"include": include, "lazy_members": len(pairs) < len(one["required_state"])}
        return {"required_state": required, "timeline_limit": one["timeline_limit"]}

    def _as_before(self, room: Json) -> Json:
        """Stubs are left out: /sync does not tell of state that is set no longer."""
        names = {"stripped_state": "invite_state", "timeline_events": "timeline"}
        found = {names.get(name, name): value for name, value in room.items() if name != "lists"}
        if "required_state" in found:
            found["required_state"] = [event for event in found["required_state"] if "content" in event]
        return found


def _redacted(content: Json) -> Json:
    """As far as it matters here."""
    return {name: value for name, value in content.items() if name == "membership"}


def _counts(shown: Json) -> tuple[int, int]:
    return shown["notification_count"], shown["highlight_count"]
