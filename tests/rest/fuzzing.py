"""What clients may put into requests: sound ones, and what to break in them."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from attrs import frozen

from synapse_lite.http.router import Route
from tests.builders import SERVER
from tests.rest.fuzz_bodies import BODIES, COMMON, LEVELS

DEEP: Any = "deep"
for _ in range(150):
    DEEP = [DEEP]

LONG = "x" * 70_000
VALUES: tuple[Any, ...] = (
    "a\0b",
    "\ud800",
    "",
    LONG,
    ["public"],
    {"a": ["b"]},
    None,
    True,
    -1,
    10**29 + 1,
    1.5,
    DEEP,
)
TEXTS = (
    "a%00b",
    "%ED%A0%80",
    "%FF",
    "",
    "x" * 500,
    "%22%27%5C%25_",
    "-1",
    "1" * 30,
    "..%2F..",
    "%F0%9F%98%80",
)
"""For paths and queries: percent-encoded, the second and third no UTF-8."""


@frozen
class Scene:
    """What a request may be about: two users, a room of theirs, an event in it."""

    user: str
    other: str
    room_id: str
    event_id: str

    def path(self, route: Route, **replaced: str) -> str:
        """Of a request that makes sense; `replaced`: parts of it, already encoded."""
        known = {
            "user_id": self.user,
            "room_id": self.room_id,
            "room_id_or_alias": self.room_id,
            "event_id": self.event_id,
            "alias": f"#alias:{SERVER}",
            "event_type": "org.example.type",
            "stage": "m.login.registration_token",
            "receipt_type": "m.read",
            "data_type": "org.example.data",
            "name": "displayname",
            "tag": "u.tag",
        }
        parts = []
        for part in route.pattern.split("/"):
            name = part[1:-1]
            if not part.startswith("{"):
                parts.append(part)
            else:
                parts.append(replaced.get(name, quote(known.get(name, "x"), safe="!@$:")))
        return "/".join(parts)

    def body(self, route: Route) -> Any:
        """Every field that the route knows; where nothing is said, those that many routes know."""
        suffix = route.pattern.split("/v3", 1)[-1]
        body = BODIES.get((route.method, suffix), COMMON)
        return json.loads(
            json.dumps(body)
            .replace("@user", self.user)
            .replace("@other", self.other)
            .replace("!room", self.room_id)
            .replace("$event", self.event_id)
        )


STATE: dict[str, Any] = {
    "m.room.join_rules": {
        "join_rule": "restricted",
        "allow": [{"type": "m.room_membership", "room_id": "!room"}],
    },
    "m.room.power_levels": LEVELS,
    "m.room.name": {"name": "Name"},
    "m.room.topic": {"topic": "Topic", "m.topic": {"m.text": [{"body": "Topic", "mimetype": "text/plain"}]}},
    "m.room.avatar": {"url": "mxc://x/y", "info": {"w": 1, "h": 1}},
    "m.room.canonical_alias": {"alias": None, "alt_aliases": []},
    "m.room.history_visibility": {"history_visibility": "shared"},
    "m.room.guest_access": {"guest_access": "can_join"},
    "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2", "rotation_period_ms": 1},
    "m.room.server_acl": {"allow": ["*"], "deny": ["x"], "allow_ip_literals": True},
    "m.room.tombstone": {"body": "Gone", "replacement_room": "!room"},
    "m.room.retention": {"max_lifetime": 10**10, "min_lifetime": 1},
    "m.room.pinned_events": {"pinned": ["$event"]},
    "m.room.third_party_invite": {
        "display_name": "x",
        "key_validity_url": "x",
        "public_key": "x",
        "public_keys": [],
    },
    "m.space.child": {"via": ["x"], "order": "a", "suggested": True},
    "m.space.parent": {"via": ["x"], "canonical": True},
    "m.room.member": {
        "membership": "join",
        "displayname": "name",
        "avatar_url": "mxc://x/y",
        "reason": "because",
    },
}


def broken(value: Any) -> Iterator[Any]:
    """The value with each of its parts, and itself, replaced by each of `VALUES`."""
    yield from VALUES
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        for other in broken(item):
            copy = value.copy()
            copy[key] = other
            yield copy
