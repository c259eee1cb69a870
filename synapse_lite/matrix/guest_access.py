"""Whether guests may be in a room (client-server API, "Guest Access")."""

from synapse_lite.matrix.event import Event

GUEST_ACCESS = ("m.room.guest_access", "")


def lets_guests_in(event: Event | None) -> bool:
    """Of the room's `m.room.guest_access`; None: it has none, which means no."""
    return event is not None and event.content.get("guest_access") == "can_join"
