"""mautrix, as bridges use it: handlers of events, relations that it builds, and what is kept for a user."""

import asyncio
import json
import sys
from typing import Any

from mautrix.client import Client
from mautrix.errors import MForbidden, MNotFound
from mautrix.types import (
    EventType,
    Membership,
    PresenceState,
    PushActionType,
    PushRuleKind,
    PushRuleScope,
    RelatesTo,
    RelationType,
    RoomCreatePreset,
    RoomDirectoryVisibility,
    RoomTagInfo,
    TextMessageEventContent,
)

parameters = json.loads(sys.argv[1])


class Heard:
    """What the handlers of a client were given, until somebody asks for it."""

    def __init__(self, client: Client, *kinds: EventType) -> None:
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        for kind in kinds:
            client.add_event_handler(kind, self._events.put)

    async def next(self, *wanted: Any) -> Any:
        """The next one with that id, or with that sender and membership."""
        async with asyncio.timeout(300):
            while True:
                event = await self._events.get()
                if event.event_id in wanted or getattr(event.content, "membership", None) in wanted:
                    return event


async def log_in(number: int) -> Client:
    user = parameters["users"][number]
    client = Client(base_url=parameters["baseUrls"][number])
    answer = await client.login(user["name"], password=user["password"])
    client.mxid = answer.user_id
    client.start(None)
    return client


async def relations(bridge: Client, human: Client, heard: Heard) -> dict[str, Any]:
    """A reply in a thread, an edit and a reaction arrive as what they are."""
    room = await bridge.create_room(preset=RoomCreatePreset.PUBLIC, name="Bridged")
    await human.join_room(room)
    root = await heard.next(await human.send_text(room, "root"))
    content = TextMessageEventContent(body="in the thread", msgtype="m.text")
    content.set_thread_parent(root)
    threaded = await heard.next(await human.send_message(room, content))
    edit = TextMessageEventContent(body="better", msgtype="m.text")
    edit.set_edit(root)
    edited = await heard.next(await human.send_message(room, edit))
    reaction = await heard.next(await human.react(room, root.event_id, "👍"))
    shown = await bridge.get_event(room, root.event_id)
    context = await bridge.get_event_context(room, root.event_id, limit=4)
    await human.redact(room, reaction.event_id)
    gone = await bridge.get_event(room, reaction.event_id)
    return {
        "thread": threaded.content.get_thread_parent() == root.event_id,
        # An event that is asked for by its id is as it was sent.
        "edit": (edited.content.get_edit() == root.event_id, shown.content.body),
        "reaction": reaction.content.relates_to
        == RelatesTo(rel_type=RelationType.ANNOTATION, event_id=root.event_id, key="👍"),
        "after": [event.event_id for event in context.events_after][:1] == [threaded.event_id],
        "gone": gone.content.serialize(),
    }


async def kept(bridge: Client, human: Client) -> dict[str, Any]:
    """Tags, data of the account, markers, rules and presence that one sets are there to read."""
    room = await human.create_room(name="Mine")
    sent = await human.send_text(room, "hello")
    await human.set_room_tag(room, "m.favourite", RoomTagInfo(order=0.25))
    await human.set_room_tag(room, "u.work")
    await human.remove_room_tag(room, "u.work")
    await human.set_account_data("org.example.bridge", {"puppet": True}, room)
    await human.set_fully_read_marker(room, sent, sent)
    scope, kind, rule = PushRuleScope.GLOBAL, PushRuleKind.CONTENT, "tea"
    await human.set_push_rule(scope, kind, rule, [PushActionType.NOTIFY], pattern="tea")
    stored = await human.get_push_rule(scope, kind, rule)
    await human.remove_push_rule(scope, kind, rule)
    await human.set_presence(PresenceState.ONLINE, "bridging")
    direct = await human.create_room(is_direct=True, invitees=[bridge.mxid])
    await bridge.join_room(direct)
    tags = await human.get_room_tags(room)
    return {
        "tags": {name: info.order for name, info in tags.tags.items()},
        "data": await human.get_account_data("org.example.bridge", room),
        "marker": (await human.get_account_data("m.fully_read", room))["event_id"] == sent,
        "rule": (stored.pattern, stored.actions == [PushActionType.NOTIFY]),
        "removed": await refused(human.get_push_rule(scope, kind, rule)),
        "presence": (await bridge.get_presence(human.mxid)).status_msg,
    }


async def members(bridge: Client, human: Client, arrivals: Heard) -> dict[str, Any]:
    """The directory leads to a room where one knocks, is let in, is put out, and may come back."""
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room = await bridge.create_room(
        name="Mautrix lobby", visibility=RoomDirectoryVisibility.PUBLIC, initial_state=[rules]
    )
    (found,) = (await human.get_room_directory(search_query="mautrix LOBBY")).chunk
    await human.knock_room(found.room_id, reason="me")
    knock = await arrivals.next(Membership.KNOCK)
    await bridge.invite_user(room, human.mxid)
    await human.join_room(room)
    await arrivals.next(Membership.JOIN)
    await bridge.kick_user(room, human.mxid, "out")
    again = await refused(human.join_room_by_id(room))
    people = await bridge.search_users("mautrix-hum")
    return {
        "found": found.room_id == room,
        "knock": (knock.state_key == human.mxid, knock.content.reason),
        "again": again,
        "people": [one.user_id for one in people.results],
    }


async def refused(request: Any) -> str:
    try:
        await request
    except (MForbidden, MNotFound) as error:
        return str(error.errcode)
    return ""


async def main() -> dict[str, Any]:
    bridge, human = await log_in(0), await log_in(1)
    heard = Heard(bridge, EventType.ROOM_MESSAGE, EventType.REACTION)
    arrivals = Heard(bridge, EventType.ROOM_MEMBER)
    try:
        return {
            "relations": await relations(bridge, human, heard),
            "kept": await kept(bridge, human),
            "members": await members(bridge, human, arrivals),
        }
    finally:
        for client in (bridge, human):
            client.stop()
            await client.api.session.close()


json.dump(asyncio.run(main()), sys.stdout)
