"""simplematrixbotlib: a bot that accepts invites, answers commands and reactions; matrix-nio is who talks to it."""

import asyncio
import json
import sys
import time
from contextlib import redirect_stdout, suppress
from typing import Any

import nio
import simplematrixbotlib

parameters = json.loads(sys.argv[1])
person, robot = parameters["users"]


def build_bot() -> simplematrixbotlib.Bot:
    creds = simplematrixbotlib.Creds(parameters["baseUrls"][1], robot["name"], robot["password"])
    bot = simplematrixbotlib.Bot(creds)

    @bot.listener.on_message_event
    async def echo(room: nio.MatrixRoom, message: nio.RoomMessageText) -> None:
        match = simplematrixbotlib.MessageMatch(room, message, bot, "!")
        if match.is_not_from_this_bot() and match.prefix() and match.command("echo"):
            await bot.api.send_markdown_message(
                room.room_id, f"**{' '.join(match.args())}**", reply_to=message.event_id
            )
            await bot.api.send_reaction(room.room_id, message, "✅")

    @bot.listener.on_reaction_event
    async def thank(room: nio.MatrixRoom, event: nio.ReactionEvent, key: str) -> None:
        if event.sender != bot.async_client.user_id:
            await bot.api.send_text_message(room.room_id, f"{key} to you")

    return bot


async def next_of(client: nio.AsyncClient, kind: type[Any], room_id: str, sender: str) -> Any:
    """The next event of that kind; all of a sync is kept until somebody asks for the next kind."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for event in client.heard:
            if isinstance(event, kind) and event.sender == sender:
                client.heard.remove(event)
                return event
        answer = await client.sync(timeout=1000)
        if room_id in answer.rooms.join:
            client.heard += answer.rooms.join[room_id].timeline.events
    raise TimeoutError(kind)


async def main() -> dict[str, Any]:
    bot = build_bot()
    running = asyncio.ensure_future(bot.main())
    client = nio.AsyncClient(parameters["baseUrls"][0], person["name"])
    client.heard = []
    try:
        await client.login(person["password"])
        async with asyncio.timeout(300):
            # Invites that it finds at its start are none of its business.
            while bot.callbacks is None:  # noqa: ASYNC110 (it has no event to wait for)
                await asyncio.sleep(0.05)
        me = f"@{robot['name']}:{client.user_id.partition(':')[2]}"
        room_id = (await client.room_create(is_direct=True, invite=[me])).room_id
        while (await next_of(client, nio.RoomMemberEvent, room_id, me)).membership != "join":
            pass
        content = {"msgtype": "m.text", "body": "!echo hello there"}
        asked = (await client.room_send(room_id, "m.room.message", content)).event_id
        said = await next_of(client, nio.RoomMessageText, room_id, me)
        liked = await next_of(client, nio.ReactionEvent, room_id, me)
        relation = {"rel_type": "m.annotation", "event_id": said.event_id, "key": "🎉"}
        await client.room_send(room_id, "m.reaction", {"m.relates_to": relation})
        thanks = await next_of(client, nio.RoomMessageText, room_id, me)
    finally:
        await client.close()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await bot.async_client.close()
    reply = said.source["content"]["m.relates_to"]["m.in_reply_to"]["event_id"]
    return {
        "said": (said.formatted_body, reply == asked),
        "liked": (liked.key, liked.reacts_to == asked),
        "thanks": thanks.body,
    }


with redirect_stdout(sys.stderr):
    shown = asyncio.run(main())
json.dump(shown, sys.stdout)
