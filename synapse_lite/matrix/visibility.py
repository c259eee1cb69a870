"""Who may see an event (client-server API, "Room History Visibility").

An event that changes the visibility, or the viewer's own membership, is judged by the better of before and after:
ask `may_see` for both visibilities, with what `better_membership` returns. Neither visibility is the better one for
all: `invited` shows an event to somebody who was invited and never joined, `shared` does not.
"""

HISTORY_VISIBILITY = ("m.room.history_visibility", "")
_VISIBILITIES = frozenset({"joined", "invited", "shared", "world_readable"})
_DEFAULT = "shared"
_NEARNESS = {"invite": 1, "join": 2}


def may_see(visibility: str | None, membership_then: str | None, joined_since: bool) -> bool:
    """Whether the viewer may see the event.

    `visibility`: the `history_visibility` at the event (None or unknown: `shared`);
    `membership_then`: the viewer's membership at the event; `joined_since`: whether the viewer was
    joined at any later point.
    """
    known = _known(visibility)
    return (
        known == "world_readable"
        or membership_then == "join"
        or (known == "shared" and joined_since)
        or (known == "invited" and membership_then == "invite")
    )


def better_membership(before: str | None, after: str | None) -> str | None:
    """Of the viewer's memberships before and after an event, the one that lets them see more."""
    return max(after, before, key=lambda membership: _NEARNESS.get(membership or "", 0))


def _known(visibility: str | None) -> str:
    return visibility if visibility in _VISIBILITIES else _DEFAULT
