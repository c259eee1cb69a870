"""What an answer of sliding sync is about: the user's rooms, its windows, and what the client knows of rooms."""

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

from attrs import evolve, frozen

from synapse_lite.handlers.sliding_sync.listings import ASKED, GONE
from synapse_lite.handlers.sliding_sync.lists import Windows
from synapse_lite.handlers.sliding_sync.rooms import Known
from synapse_lite.handlers.sliding_sync.values import RoomConfig
from synapse_lite.storage.room_lists import ListedRoom
from synapse_lite.storage.sent_rooms import Sent, SentRoom

Listed = Mapping[int, ListedRoom]


@frozen
class Scene:
    """`gone` are the listed rooms that the user is out of; `sent` is what the client knows, at `since`."""

    since: int
    listed: Listed
    gone: Listed
    windows: Windows
    sent: Sent

    @cached_property
    def inside(self) -> list[int]:
        """The rooms in the windows that the user is in."""
        return [nid for nid in self.windows.wanted if self.listed[nid].membership == "join"]

    @cached_property
    def live(self) -> set[int]:
        """Those of them that the client knows up to its position, as it wants them now."""
        wanted, sent = self.windows.wanted, self.sent
        return {
            nid
            for nid in self.inside
            if (one := sent.get(nid)) is not None
            and one.upto is None
            and one.membership == "join"
            and one.config == wanted[nid].text
        }

    @property
    def departed(self) -> Listed:
        """Rooms that the client knows, or that stand in a window, and the user is out of."""
        return {
            nid: one
            for nid, one in self.gone.items()
            if (nid in self.windows.wanted or nid in self.sent) and not self.is_told(nid)
        }

    @property
    def outside(self) -> Listed:
        """Invites and knocks in the windows of which the client does not know."""
        return {
            nid: self.listed[nid]
            for nid in self.windows.wanted
            if self.listed[nid].membership in ASKED and not self.is_told(nid)
        }

    @property
    def lost(self) -> list[int]:
        """Rooms that the client knows, of which the user has no membership any more, or none that it will see."""
        listed, wanted = self.listed, self.windows.wanted
        found = []
        for nid, one in self.sent.items():
            room = listed.get(nid)
            if room is None:
                is_lost = one.membership not in GONE
            else:  # put out meanwhile, and asked in again, without a look at the invite
                is_lost = room.membership in ASKED and one.membership == "join" and nid not in wanted
            if is_lost:
                found.append(nid)
        return found

    @property
    def is_settled(self) -> bool:
        """Whether the client knows all rooms as it wants them, and no others as of now: only news can change that."""
        wanted = self.windows.wanted
        return len(self.live) == len(self.inside) and not (
            self.departed
            or self.outside
            or self.lost
            or any(one.upto is None and nid not in wanted for nid, one in self.sent.items())
        )

    def ids(self, nids: Iterable[int]) -> dict[int, str]:
        return {nid: self.listed[nid].room_id for nid in nids}

    def knows_joined(self, nid: int) -> bool:
        return nid in self.sent and self.sent[nid].membership == "join"

    def is_told(self, nid: int) -> bool:
        """Whether the client knows what the user's membership is, which is not `join`, and has what it wants of the room."""
        return (
            nid in self.sent
            and self.sent[nid].member_nid == self.listed[nid].member_nid
            and not self._wants_more(nid)
        )

    def _wants_more(self, nid: int) -> bool:
        """Of a room that the user is out of: an invite shows the same to everybody."""
        wanted, had = self.windows.wanted.get(nid), self.sent[nid].config
        if wanted is None or wanted.text == had or self.listed[nid].membership not in GONE:
            return False
        before = RoomConfig.decode(had)
        return wanted.timeline_limit > before.timeline_limit or wanted.wants_more_than(before)

    def upto(self, nid: int) -> int:
        """How far the client knows the room."""
        upto = self.sent[nid].upto
        return self.since if upto is None else upto

    def config(self, nid: int) -> RoomConfig:
        """What is wanted of a room, or was."""
        wanted = self.windows.wanted.get(nid)
        return wanted if wanted is not None else RoomConfig.decode(self.sent[nid].config)

    def known(self, nids: Iterable[int]) -> dict[int, Known]:
        """How the client knows rooms that it knows as joined."""
        found = [nid for nid in nids if self.knows_joined(nid)]
        configs = {text: RoomConfig.decode(text) for text in {self.sent[nid].config for nid in found}}
        return {nid: Known(self.upto(nid), configs[self.sent[nid].config]) for nid in found}


def told(
    scene: Scene, broken: Collection[int], outside: Collection[int], departed: Collection[int]
) -> dict[int, SentRoom | None]:
    """Of rooms that the client knows otherwise now: how. `broken` are those that could not be read."""
    wanted, sent = scene.windows.wanted, scene.sent
    found: dict[int, SentRoom | None] = {
        nid: evolve(one, upto=scene.since)
        for nid, one in sent.items()
        if one.upto is None and (nid not in wanted or nid in broken)
    }
    for nid in scene.inside:
        if nid not in scene.live and nid not in broken:
            found[nid] = SentRoom(None, wanted[nid].text, "join")
    for nid in (*outside, *departed):
        room = scene.listed[nid]
        is_shown = nid in wanted
        found[nid] = SentRoom(0, wanted[nid].text, room.membership, room.member_nid) if is_shown else None
    return found
