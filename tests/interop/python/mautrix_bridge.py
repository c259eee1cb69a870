"""A bridge that is built on mautrix: it makes its users and its room, and writes down what it hears.

It runs until there is a file `stop` in its directory. `heard` gets a line for each event, `asked` one for each
transaction that comes, also for one that comes again; while there is a file `hold`, a transaction stays unanswered
after its events were handled.
"""

import asyncio
import hashlib
import json
import logging
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from aiohttp import web
from mautrix.appservice import AppService
from mautrix.types import (
    EventType,
    Membership,
    MessageType,
    RoomCreatePreset,
    TextMessageEventContent,
)

parameters = json.loads(sys.argv[1])
DOMAIN, SERVICE = parameters["domain"], parameters["id"]
SECONDS = 300.0


def note(name: str, line: Any) -> None:
    with Path(name).open("a") as file:
        file.write(json.dumps(line) + "\n")


def is_there(name: str) -> bool:
    return Path(name).exists()


async def until_there(name: str, *, there: bool = True) -> None:
    async with asyncio.timeout(SECONDS):
        while is_there(name) is not there:  # noqa: ASYNC110 (another process makes it)
            await asyncio.sleep(0.05)


@web.middleware
async def watch(request: web.Request, handler: Any) -> web.StreamResponse:
    if request.method != "PUT":
        note("queries", request.path)
        return await handler(request)
    data = await request.read()
    events = [event["event_id"] for event in json.loads(data)["events"]]
    digest = hashlib.sha256(data).hexdigest()
    note("asked", {"txn": request.match_info["transaction_id"], "events": events, "digest": digest})
    answer = await handler(request)
    await until_there("hold", there=False)
    return answer


class Bridge:
    def __init__(self) -> None:
        self.service = AppService(
            parameters["homeserver"],
            DOMAIN,
            f"as_{SERVICE}",
            f"hs_{SERVICE}",
            f"{SERVICE}bot",
            id=SERVICE,
            query_alias=self.make_room,
            ephemeral_events=True,
            aiohttp_params={"middlewares": [watch], "client_max_size": 100 * 1024**2},
        )
        self.service.synchronous_handlers = True
        self.service.matrix_event_handler(self.hear)
        self.beside: asyncio.Queue[Any] = asyncio.Queue()

    async def hear(self, event: Any) -> None:
        if event.type.is_ephemeral:
            self.beside.put_nowait(event)
            return
        text = getattr(event.content, "body", None)
        note("heard", {"id": event.event_id, "type": str(event.type), "by": event.sender, "text": text})
        if event.type == EventType.ROOM_MEMBER and event.content.membership == Membership.INVITE:
            await self.service.intent.user(event.state_key).ensure_joined(event.room_id)

    async def make_room(self, alias: str) -> dict[str, Any]:
        """Somebody wants to come in by an alias of ours: there is a room from now on, with a user of ours in it."""
        localpart = alias[1:].partition(":")[0]
        room = await self.service.intent.create_room(
            alias_localpart=localpart,
            preset=RoomCreatePreset.PUBLIC,
            power_level_override={"invite": 0},
        )
        await self.ghost("carol").ensure_joined(room)
        return {"room": room}

    def ghost(self, name: str) -> Any:
        return self.service.intent.user(f"@_{SERVICE}_{name}:{DOMAIN}")

    async def begin(self) -> dict[str, Any]:
        """What a bridge does when it runs for the first time."""
        bot = self.service.intent
        duration = await self.service.ping_self("first")
        await bot.ensure_registered()
        await bot.set_displayname("Bridge")
        room = await bot.create_room(preset=RoomCreatePreset.PRIVATE, name="Portal")
        alice = self.ghost("alice")
        await alice.set_displayname("Alice (elsewhere)")
        await alice.ensure_joined(room)  # the bot has to invite her
        content = TextMessageEventContent(msgtype=MessageType.TEXT, body="said long ago")
        then = await alice.send_message(room, content, timestamp=1_000_000)
        await alice.set_typing(room, 30_000)
        await alice.mark_read(room, then)
        human = bot.user(parameters["human"], token="as_double", as_token=True)
        await bot.invite_user(room, parameters["human"])
        await human.ensure_joined(room)
        twin = await human.send_text(room, "from elsewhere, by myself")
        event = await bot.get_event(room, then)
        async with asyncio.timeout(SECONDS):
            kinds: set[str] = set()
            while not {"m.typing", "m.receipt"} <= kinds:
                kinds.add(str((await self.beside.get()).type))
        return {
            "ping": duration >= -1,
            "room": room,
            "then": (event.sender, event.timestamp),
            "twin": (await bot.get_event(room, twin)).sender,
            "name": await bot.get_displayname(alice.mxid),
            "members": sorted(await bot.get_room_members(room)),
        }


async def main() -> dict[str, Any] | None:
    bridge = Bridge()
    await bridge.service.start("127.0.0.1", parameters["port"])
    try:
        shown = await bridge.begin() if parameters["first"] else {}
        note("ready", shown)
        await until_there("stop")
    finally:
        await bridge.service.stop()
    return shown


logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
with redirect_stdout(sys.stderr):
    shown = asyncio.run(main())
json.dump(shown, sys.stdout)
