"""What sliding sync shows of a room beside its events: name, avatar, heroes, counts. Runs in database threads."""

from collections.abc import Collection, Iterable, Mapping

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.sync.summary import HEROES
from synapse_lite.handlers.sync.values import Reading
from synapse_lite.matrix.event import Event, redacted
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.events import EventStore, View
from synapse_lite.storage.room_summary import read_summaries
from synapse_lite.storage.state import StateStore

NAME = ("m.room.name", "")
AVATAR = ("m.room.avatar", "")
SHOWN = frozenset({NAME[0], AVATAR[0], "m.room.canonical_alias", MEMBER, "m.room.redaction"})
"""A room in which such an event happened may look different."""


@frozen
class SummaryReader:
    events: EventStore
    state: StateStore

    def read(
        self, reading: Reading, joined: Collection[int], asked: Collection[int]
    ) -> dict[int, JsonObject]:
        """By room nid: of rooms that the user is in, and of those to which they are `asked`, or ask.

        Only a room without a name has heroes. What is no text, or no content URI, is left out.
        """
        if not joined and not asked:
            return {}
        summaries = read_summaries(reading.txn, [*joined, *asked])
        nameless = [nid for nid in joined if nid in summaries and not _text(summaries[nid].name)]
        heroes = self._heroes(reading, nameless)
        found = {}
        for nid, summary in summaries.items():
            shown = _look(summary.name, summary.avatar_url)
            if nid in heroes:
                shown["heroes"] = heroes[nid]
            if nid in joined:
                shown |= {"joined_count": summary.joined, "invited_count": summary.invited}
            found[nid] = shown
        return found

    def _heroes(self, reading: Reading, room_nids: Collection[int]) -> dict[int, list[JsonObject]]:
        if not room_nids:
            return {}
        found = room_store.heroes(reading.txn, room_nids, HEROES + 1)
        chosen = {
            nid: [one for one in users if one != reading.request.user_id][:HEROES]
            for nid, users in found.items()
        }
        wanted = [(nid, (MEMBER, user)) for nid, users in chosen.items() for user in users]
        current = self.state.current(reading.txn, wanted)
        views = {view.stored.nid: view for view in self.events.views(reading.txn, list(current.values()))}
        members: Mapping[tuple[int, str], Event] = {
            (nid, key[1]): redacted(views[event].stored.event)
            if views[event].redaction
            else views[event].stored.event
            for (nid, key), event in current.items()
            if event in views
        }
        return {
            nid: [_hero(user, members.get((nid, user))) for user in users] for nid, users in chosen.items()
        }


def look_of(state: Iterable[View]) -> JsonObject:
    """Name and avatar of a room that is, or was, in this state."""
    events = [redacted(view.stored.event) if view.redaction else view.stored.event for view in state]
    contents = {event.key: event.content for event in events}
    return _look(contents.get(NAME, {}).get("name"), contents.get(AVATAR, {}).get("url"))


def _look(name: object, avatar_url: object) -> JsonObject:
    shown: JsonObject = {}
    if _text(name):
        shown["name"] = name
    if _is_content(avatar_url):
        shown["avatar"] = avatar_url
    return shown


def _hero(user_id: str, member: Event | None) -> JsonObject:
    hero: JsonObject = {"user_id": user_id}
    content = member.content if member else {}
    if _text(content.get("displayname")):
        hero["displayname"] = content["displayname"]
    if _is_content(content.get("avatar_url")):
        hero["avatar_url"] = content["avatar_url"]
    return hero


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_content(value: object) -> bool:
    return isinstance(value, str) and value.startswith("mxc://")
