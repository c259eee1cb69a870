"""A room as Synapse's database has it, event by event."""

import json
from typing import Any

from attrs import define, field

from tests.builders import ALICE, BOB, SERVER
from tests.cli.synapse_accounts import NOW, Rows

ROOM = f"!room:{SERVER}"
StateKey = tuple[str, str]

SCHEMA = {
    "rooms": "room_id TEXT, room_version TEXT, is_public BOOLEAN",
    "partial_state_rooms": "room_id TEXT",
    "local_current_membership": "room_id TEXT, user_id TEXT, event_id TEXT",
    "room_memberships": "event_id TEXT, forgotten INTEGER",
    "events": "stream_ordering BIGINT, topological_ordering BIGINT, event_id TEXT, room_id TEXT, received_ts BIGINT,"
    " outlier BOOLEAN",
    "event_json": "event_id TEXT, json TEXT, internal_metadata TEXT",
    "rejections": "event_id TEXT, reason TEXT",
    "event_to_state_groups": "event_id TEXT, state_group BIGINT",
    "state_group_edges": "state_group BIGINT, prev_state_group BIGINT",
    "state_groups_state": "state_group BIGINT, type TEXT, state_key TEXT, event_id TEXT",
    "current_state_events": "room_id TEXT, type TEXT, state_key TEXT, event_id TEXT",
    "event_forward_extremities": "room_id TEXT, event_id TEXT",
    "room_aliases": "room_alias TEXT, room_id TEXT, creator TEXT",
    "room_account_data": "user_id TEXT, room_id TEXT, account_data_type TEXT, content TEXT",
    "room_tags": "user_id TEXT, room_id TEXT, tag TEXT, content TEXT",
    "receipts_linearized": "stream_id BIGINT, room_id TEXT, receipt_type TEXT, user_id TEXT, event_id TEXT, thread_id TEXT,"
    " data TEXT",
    "blocked_rooms": "room_id TEXT, user_id TEXT",
    "event_reports": "id BIGINT, received_ts BIGINT, room_id TEXT, event_id TEXT, user_id TEXT, reason TEXT, content TEXT",
    "room_reports": "id BIGINT, received_ts BIGINT, room_id TEXT, user_id TEXT, reason TEXT",
    "user_reports": "id BIGINT, received_ts BIGINT, target_user_id TEXT, user_id TEXT, reason TEXT",
    "device_lists_stream": "stream_id BIGINT",
    "stream_positions": "stream_id BIGINT",
}


@define
class SynapseRoom:
    """Of version 1, in which events are called what their server likes. Each state is a group of its own, without a base."""

    rows: Rows = field(factory=lambda: {table: [] for table in SCHEMA})
    state: dict[StateKey, str] = field(factory=dict)
    last: str | None = None

    @classmethod
    def begin(cls) -> "SynapseRoom":
        """Alice has made it, and Bob has joined."""
        room = cls()
        room.rows["rooms"].append({"room_id": ROOM, "room_version": "1", "is_public": False})
        room.add("create", "m.room.create", {"creator": ALICE}, state_key="")
        room.add("alice", "m.room.member", {"membership": "join"}, state_key=ALICE)
        room.add("public", "m.room.join_rules", {"join_rule": "public"}, state_key="")
        room.add("bob", "m.room.member", {"membership": "join"}, sender=BOB, state_key=BOB)
        for name, user_id in (("alice", ALICE), ("bob", BOB)):
            row = {"room_id": ROOM, "user_id": user_id, "event_id": event_id(name)}
            room.rows["local_current_membership"].append(row)
        return room

    def add(
        self, name: str, kind: str = "m.room.message", content: Any = None, *, sender: str = ALICE, auth: tuple[str, ...] = (),
        is_outlier: bool = False, text: str | None = None, metadata: str = "{}", **more: Any,
    ) -> None:  # fmt: skip
        """`text` instead of its JSON. An outlier changes no state."""
        number = len(self.rows["events"]) + 1
        chosen = [event_id(one) for one in auth] or [self.state[key] for key in self.state if key[0] != kind]
        pdu = {
            "event_id": event_id(name), "room_id": ROOM, "sender": sender, "type": kind, "content": content or {},
            "origin_server_ts": NOW, "depth": number, "auth_events": [[one, {}] for one in chosen], "hashes": {}, "signatures": {},
            "prev_events": [[self.last, {}]] if self.last else [], **more,
        }  # fmt: skip
        self.rows["events"].append(
            {"stream_ordering": number, "topological_ordering": number, "event_id": event_id(name), "room_id": ROOM,
             "received_ts": NOW, "outlier": is_outlier}
        )  # fmt: skip
        written = json.dumps(pdu) if text is None else text
        row = {"event_id": event_id(name), "json": written, "internal_metadata": metadata}
        self.rows["event_json"].append(row)
        if is_outlier:
            return
        if "state_key" in more:
            self.state[kind, more["state_key"]] = event_id(name)
        self.last = event_id(name)
        self.rows["event_to_state_groups"].append({"event_id": event_id(name), "state_group": number})
        self.rows["state_groups_state"].extend({"state_group": number, **row} for row in self._state())

    def end(self) -> Rows:
        """What is written, with the present state and end."""
        self.rows["current_state_events"] = [{"room_id": ROOM, **row} for row in self._state()]
        self.rows["event_forward_extremities"] = [{"room_id": ROOM, "event_id": self.last}]
        return self.rows

    def _state(self) -> list[dict[str, Any]]:
        return [
            {"type": kind, "state_key": key, "event_id": event} for (kind, key), event in self.state.items()
        ]


def event_id(name: str) -> str:
    return f"${name}:{SERVER}"
