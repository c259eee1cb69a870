"""The predefined push rules (client-server API, "Predefined Rules").

The rules that looked for names in the text of messages left the specification in v1.17
(MSC4210): mentions are named in `m.mentions`.
"""

from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.push_rules.conditions import MSC4306, THREAD_SUBSCRIPTION

_SOUND = {"set_tweak": "sound", "value": "default"}
_RING = {"set_tweak": "sound", "value": "ring"}
_HIGHLIGHT = {"set_tweak": "highlight"}


def default_rules(user_id: str, *, follows_threads: bool = False) -> dict[str, list[JsonObject]]:
    """The rules by kind, in order of priority; new ones at each call. `follows_threads`: with those of MSC4306."""
    return {
        "override": _override_rules(user_id),
        "postcontent": _thread_rules() if follows_threads else [],
        "underride": _underride_rules(),
    }


def _override_rules(user_id: str) -> list[JsonObject]:
    return [
        _rule("master", [], [], enabled=False),
        _rule("suppress_notices", [_matches("content.msgtype", "m.notice")], []),
        _rule(
            "invite_for_me",
            [
                _matches("type", "m.room.member"),
                _matches("content.membership", "invite"),
                _matches("state_key", user_id),
            ],
            ["notify", _SOUND],
        ),
        _rule("member_event", [_matches("type", "m.room.member")], []),
        _rule(
            "is_user_mention",
            [_property("contains", r"content.m\.mentions.user_ids", user_id)],
            ["notify", _SOUND, _HIGHLIGHT],
        ),
        _rule(
            "is_room_mention",
            [
                _property("is", r"content.m\.mentions.room", True),
                {"kind": "sender_notification_permission", "key": "room"},
            ],
            ["notify", _HIGHLIGHT],
        ),
        _rule(
            "tombstone",
            [_matches("type", "m.room.tombstone"), _matches("state_key", "")],
            ["notify", _HIGHLIGHT],
        ),
        _rule("reaction", [_matches("type", "m.reaction")], []),
        _rule("room.server_acl", [_matches("type", "m.room.server_acl"), _matches("state_key", "")], []),
        _rule("suppress_edits", [_property("is", r"content.m\.relates_to.rel_type", "m.replace")], []),
    ]


def _underride_rules() -> list[JsonObject]:
    two_members = {"kind": "room_member_count", "is": "2"}
    message = _matches("type", "m.room.message")
    encrypted = _matches("type", "m.room.encrypted")
    return [
        _rule("call", [_matches("type", "m.call.invite")], ["notify", _RING]),
        _rule("encrypted_room_one_to_one", [two_members, encrypted], ["notify", _SOUND]),
        _rule("room_one_to_one", [two_members, message], ["notify", _SOUND]),
        _rule("message", [message], ["notify"]),
        _rule("encrypted", [encrypted], ["notify"]),
    ]


def _thread_rules() -> list[JsonObject]:
    """What is said in a thread notifies those who follow it, whatever is set for the room, and no others."""
    return [
        _rule("unsubscribed_thread", [_follows(False)], [], prefix=f".{MSC4306}.rule."),
        _rule("subscribed_thread", [_follows(True)], ["notify", _SOUND], prefix=f".{MSC4306}.rule."),
    ]


def _follows(subscribed: bool) -> JsonObject:
    return {"kind": THREAD_SUBSCRIPTION, "subscribed": subscribed}


def _rule(
    name: str,
    conditions: list[JsonObject],
    actions: list[str | dict[str, str]],
    *,
    enabled: bool = True,
    prefix: str = ".m.rule.",
) -> JsonObject:
    return {
        "rule_id": f"{prefix}{name}",
        "default": True,
        "enabled": enabled,
        "conditions": [dict(condition) for condition in conditions],
        "actions": [dict(action) if isinstance(action, dict) else action for action in actions],
    }


def _matches(key: str, pattern: str) -> JsonObject:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _property(relation: str, key: str, value: Any) -> JsonObject:
    return {"kind": f"event_property_{relation}", "key": key, "value": value}
