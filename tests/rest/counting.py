"""Clients that keep the unread counts they are told."""

from typing import Any

from attrs import define, field

from tests.server import TestServer, path_part, user_path

THREADED = '{"room":{"timeline":{"unread_thread_notifications":true}}}'
Counts = dict[str, tuple[int, int]]  # thread id or "main": notifications and highlights


def text(body: str = "x", **more: Any) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body, **more}


def in_thread(root: str) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}


def mentioning(*names: str) -> dict[str, Any]:
    return {"m.mentions": {"user_ids": [f"@{name}:hs.test" for name in names]}}


def _pair(count: dict[str, int]) -> tuple[int, int]:
    assert count.keys() == {"notification_count", "highlight_count"}
    return count["notification_count"], count["highlight_count"]


@define
class Client:
    """Somebody who follows their rooms by long polls, and keeps the counts that they are told."""

    server: TestServer
    name: str
    token: str
    counts: dict[str, Counts] = field(factory=dict)
    since: str | None = None
    number: int = 0

    @classmethod
    async def new(cls, server: TestServer, name: str) -> "Client":
        return cls(server, name, await server.user(name))

    async def sync(self, server: TestServer | None = None, *, anew: bool = False) -> dict[str, Any]:
        path = f"sync?filter={path_part(THREADED)}" + (
            f"&since={self.since}" if self.since and not anew else ""
        )
        answer: dict[str, Any] = await (server or self.server).ok("GET", path, None, self.token)
        if anew or self.since is None:
            self.counts = {}
        self.since = answer["next_batch"]
        for room_id, room in answer.get("rooms", {}).get("join", {}).items():
            if "unread_notifications" in room:
                threads = {
                    root: _pair(count) for root, count in room.get("unread_thread_notifications", {}).items()
                }
                found = {"main": _pair(room["unread_notifications"]), **threads}
                self.counts[room_id] = {thread: count for thread, count in found.items() if count != (0, 0)}
        return answer

    async def counted(self, room: str) -> Counts:
        await self.sync()
        return self.counts.get(id_of(room), {})

    async def send(self, room: str, content: dict[str, Any], kind: str = "m.room.message") -> str:
        self.number += 1
        path = f"{room}/send/{kind}/{self.name}{self.number}"
        event_id: str = (await self.server.ok("PUT", path, content, self.token))["event_id"]
        return event_id

    async def read(self, room: str, event_id: str, kind: str = "m.read", thread: str | None = None) -> None:
        body = {} if thread is None else {"thread_id": thread}
        await self.server.ok("POST", f"{room}/receipt/{kind}/{path_part(event_id)}", body, self.token)

    async def redact(self, room: str, event_id: str) -> None:
        self.number += 1
        path = f"{room}/redact/{path_part(event_id)}/{self.name}{self.number}"
        await self.server.ok("PUT", path, {}, self.token)

    async def ignore(self, *names: str) -> None:
        ignored = {"ignored_users": {f"@{name}:hs.test": {} for name in names}}
        path = user_path(self.name, "account_data/m.ignored_user_list")
        await self.server.ok("PUT", path, ignored, self.token)

    async def put_rule(self, kind: str, rule_id: str, body: dict[str, Any]) -> None:
        await self.server.ok("PUT", f"pushrules/global/{kind}/{path_part(rule_id)}", body, self.token)


def id_of(room: str) -> str:
    return room.removeprefix("rooms/")


async def two_in_a_room(server: TestServer) -> tuple[Client, Client, str]:
    """Two in a room, both of whom have synced."""
    alice, bob = await Client.new(server, "alice"), await Client.new(server, "bob")
    room = await server.room(alice.token)
    await server.ok("POST", f"{room}/join", {}, bob.token)
    await alice.sync()
    await bob.sync()
    return alice, bob, room
