"""What the routes take in their bodies: every field that they know. `fuzzing.Scene` puts its names in."""

from typing import Any

from tests.server import PASSWORD

AUTH = {
    "type": "m.login.password",
    "identifier": {"type": "m.id.user", "user": "@user"},
    "password": PASSWORD,
}
COMMON: dict[str, Any] = {
    "user_id": "@other",
    "room_id": "!room",
    "device_id": "DEVICE",
    "display_name": "name",
    "displayname": "name",
    "reason": "because",
}
KEY = {
    "signed_curve25519:A": {"key": "x", "fallback": True, "signatures": {"@user": {"ed25519:DEVICE": "x"}}}
}
SIGNING_KEY = {
    "user_id": "@user",
    "usage": ["master"],
    "keys": {"ed25519:x": "x"},
    "signatures": {"@user": {"k": "x"}},
}
BACKUP = {
    "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
    "auth_data": {"public_key": "x"},
    "version": "1",
}
SESSION_KEY = {
    "first_message_index": 1,
    "forwarded_count": 0,
    "is_verified": False,
    "session_data": {"ciphertext": "x"},
}
EVENT_FILTER = {
    "limit": 10,
    "types": ["m.room.message"],
    "not_types": ["x"],
    "senders": ["@user"],
    "not_senders": ["@other"],
    "rooms": ["!room"],
    "not_rooms": ["!room"],
    "contains_url": False,
    "lazy_load_members": True,
    "include_redundant_members": False,
    "unread_thread_notifications": True,
    "related_by_senders": ["@user"],
    "related_by_rel_types": ["m.thread"],
}
FILTER = {
    "event_fields": ["type", "content", "sender"],
    "event_format": "client",
    "presence": {"types": ["x"], "limit": 1},
    "account_data": {"types": ["x"], "limit": 1},
    "room": {
        "rooms": ["!room"],
        "not_rooms": ["!other:x"],
        "include_leave": True,
        "timeline": EVENT_FILTER,
        "state": EVENT_FILTER,
        "ephemeral": EVENT_FILTER,
        "account_data": EVENT_FILTER,
    },
}
LEVELS = {
    "ban": 50,
    "events": {"m.room.name": 50},
    "events_default": 0,
    "invite": 0,
    "kick": 50,
    "notifications": {"room": 50},
    "redact": 50,
    "state_default": 50,
    "users": {"@user": 100, "@other": 50},
    "users_default": 0,
}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/login"): {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "@user"},
        "user": "user",
        "password": PASSWORD,
        "device_id": "DEVICE",
        "initial_device_display_name": "name",
        "refresh_token": True,
    },
    ("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"): {
        "conn_id": "main",
        "lists": {
            "all": {
                "ranges": [[0, 19]],
                "slow_get_all_rooms": False,
                "required_state": [["m.room.member", "$LAZY"], ["m.room.name", ""]],
                "timeline_limit": 5,
                "filters": {"is_dm": False, "spaces": ["!room"], "room_types": [None], "tags": ["u.x"]},
            }
        },
        "room_subscriptions": {"!room": {"required_state": [["*", "*"]], "timeline_limit": 1}},
        "extensions": {
            "to_device": {"enabled": True, "limit": 1, "since": "s1"},
            "e2ee": {"enabled": True},
            "account_data": {"enabled": True, "lists": ["all"], "rooms": ["!room"]},
            "typing": {"enabled": True},
        },
    },
    ("PUT", "/_matrix/client/unstable/io.element.msc4306/rooms/{room_id}/thread/{event_id}/subscription"): {
        "automatic": "$event"
    },
    ("POST", "/_matrix/client/v4/sync"): {
        "conn_id": "main",
        "timeout": 0,
        "set_presence": "online",
        "lists": {
            "all": {
                "range": [0, 19],
                "required_state": {
                    "include": [{"type": "m.room.name", "state_key": ""}, {}],
                    "exclude": [{"type": "m.room.topic"}],
                    "lazy_members": True,
                },
                "timeline_limit": 5,
                "filters": {"is_invited": False, "not_room_types": ["m.space"]},
            }
        },
        "room_subscriptions": {"!room": {"required_state": {"include": []}, "timeline_limit": 1}},
        "extensions": {"receipts": {"enabled": True}},
    },
    ("POST", "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}"): {"action": "send"},
    ("PUT", "/presence/{user_id}/status"): {"presence": "online", "status_msg": "x"},
    ("POST", "/pushers/set"): {
        "app_id": "app",
        "pushkey": "key",
        "kind": "http",
        "app_display_name": "App",
        "device_display_name": "Phone",
        "profile_tag": "tag",
        "lang": "en",
        "data": {"url": "http://127.0.0.1:1/_matrix/push/v1/notify", "format": "event_id_only"},
        "append": True,
    },
    ("POST", "/auth/{stage}/fallback/web"): {"token": "abc"},
    ("POST", "/register"): {
        "username": "new",
        "password": PASSWORD,
        "auth": {"type": "m.login.dummy"},
        "device_id": "DEVICE",
        "initial_device_display_name": "name",
        "inhibit_login": False,
        "refresh_token": True,
    },
    ("POST", "/publicRooms"): {
        "limit": 1,
        "since": "n1_1",
        "filter": {"generic_search_term": "x", "room_types": ["m.space", None]},
        "third_party_instance_id": None,
    },
    ("POST", "/refresh"): {"refresh_token": "x"},
    ("POST", "/search"): {
        "search_categories": {
            "room_events": {
                "search_term": "x",
                "keys": ["content.body"],
                "filter": {"limit": 1, "senders": ["@user"], "rooms": ["!room"]},
                "order_by": "recent",
                "event_context": {"before_limit": 1, "after_limit": 1, "include_profile": True},
                "include_state": True,
                "groupings": {"group_by": [{"key": "room_id"}]},
            }
        }
    },
    ("POST", "/user_directory/search"): {"search_term": "x", "limit": 1},
    ("POST", "/account/3pid/delete"): {"medium": "email", "address": "a@b.test"},
    ("POST", "/delete_devices"): {"devices": ["OTHER"], "auth": AUTH},
    ("DELETE", "/devices/{device_id}"): {"auth": AUTH},
    ("POST", "/_synapse/admin/v2/users/{user_id}/delete_devices"): {"devices": ["OTHER"]},
    ("PUT", "/_synapse/admin/v2/users/{user_id}"): {
        "password": PASSWORD,
        "logout_devices": False,
        "displayname": "name",
        "avatar_url": "mxc://hs.test/x",
        "threepids": [{"medium": "email", "address": "a@b.test"}],
        "external_ids": [{"auth_provider": "oidc", "external_id": "x"}],
        "admin": False,
        "locked": False,
        "user_type": "bot",
    },
    ("PUT", "/_synapse/admin/v1/users/{user_id}/admin"): {"admin": True},
    ("PUT", "/_synapse/admin/v1/suspend/{user_id}"): {"suspend": True},
    ("POST", "/_synapse/admin/v1/deactivate/{user_id}"): {"erase": True},
    ("POST", "/_synapse/admin/v1/account_validity/validity"): {
        "user_id": "@other",
        "expiration_ts": 2**50,
        "enable_renewal_emails": False,
    },
    ("PUT", "/_synapse/admin/v1/experimental_features/{user_id}"): {"features": {"msc3881": True}},
    ("POST", "/_synapse/admin/v1/prune_devices"): {
        "before_ts": 1_600_000_000_000,
        "users": ["@other"],
        "dry_run": True,
    },
    ("POST", "/_synapse/admin/v1/delete_old_otks"): {"before_ts": 1_600_000_000_000, "dry_run": True},
    ("POST", "/_synapse/admin/v1/shutdown_rooms"): {
        "rooms": ["!room"],
        "new_room_user_id": "@other",
        "room_name": "x",
        "message": "x",
        "block": False,
        "purge": True,
        "force_purge": False,
        "dry_run": True,
    },
    ("POST", "/_synapse/admin/v1/reset_password/{user_id}"): {
        "new_password": PASSWORD,
        "logout_devices": True,
    },
    ("POST", "/_synapse/admin/v1/users/{user_id}/login"): {"valid_until_ms": 2**50},
    ("POST", "/_synapse/admin/v1/users/{user_id}/erase"): {"reason": "spam", "dry_run": True},
    ("POST", "/_synapse/admin/v1/users/{user_id}/override_ratelimit"): {
        "messages_per_second": 1,
        "burst_count": 1,
    },
    ("POST", "/_synapse/admin/v1/registration_tokens/new"): {
        "token": "x",
        "length": 16,
        "uses_allowed": 1,
        "expiry_time": 2**50,
    },
    ("PUT", "/_synapse/admin/v1/registration_tokens/{token}"): {"uses_allowed": 1, "expiry_time": 2**50},
    ("POST", "/_synapse/admin/v1/send_server_notice"): {
        "user_id": "@other",
        "type": "m.room.message",
        "content": {"msgtype": "m.text", "body": "x"},
    },
    ("PUT", "/_matrix/client/v1/admin/lock/{user_id}"): {"locked": True},
    ("PUT", "/_matrix/client/v1/admin/suspend/{user_id}"): {"suspended": True},
    ("POST", "/keys/upload"): {
        "device_keys": {
            "user_id": "@user",
            "device_id": "DEVICE",
            "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
            "keys": {"ed25519:DEVICE": "x"},
            "signatures": {"@user": {"ed25519:DEVICE": "x"}},
        },
        "one_time_keys": KEY,
        "fallback_keys": KEY,
    },
    ("POST", "/keys/query"): {"device_keys": {"@other": ["DEVICE"]}, "timeout": 1000},
    ("POST", "/keys/claim"): {"one_time_keys": {"@other": {"DEVICE": "signed_curve25519"}}, "timeout": 1000},
    ("POST", "/keys/device_signing/upload"): {
        "master_key": SIGNING_KEY,
        "self_signing_key": SIGNING_KEY,
        "auth": {"type": "m.login.password"},
    },
    ("POST", "/keys/signatures/upload"): {"@user": {"DEVICE": SIGNING_KEY}},
    ("PUT", "/sendToDevice/{message_type}/{txn_id}"): {"messages": {"@other": {"DEVICE": {"body": "x"}}}},
    ("POST", "/room_keys/version"): BACKUP,
    ("PUT", "/room_keys/version/{version}"): BACKUP,
    ("PUT", "/room_keys/keys"): {"rooms": {"!room": {"sessions": {"s": SESSION_KEY}}}},
    ("PUT", "/room_keys/keys/{room_id}"): {"sessions": {"s": SESSION_KEY}},
    ("PUT", "/room_keys/keys/{room_id}/{session_id}"): SESSION_KEY,
    ("POST", "/account/password"): {"new_password": PASSWORD, "logout_devices": False, "auth": AUTH},
    ("POST", "/createRoom"): {
        "room_version": "10",
        "visibility": "public",
        "preset": "public_chat",
        "room_alias_name": "alias",
        "name": "Name",
        "topic": "Topic",
        "invite": ["@other"],
        "invite_3pid": [],
        "is_direct": True,
        "creation_content": {
            "m.federate": False,
            "type": "x",
            "predecessor": {"room_id": "!room", "event_id": "$e"},
        },
        "initial_state": [
            {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "public"}},
            {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
        ],
        "power_level_content_override": LEVELS,
    },
    ("POST", "/user/{user_id}/filter"): FILTER,
    ("PUT", "/user/{user_id}/rooms/{room_id}/tags/{tag}"): {"order": 0.5},
    ("PUT", "/rooms/{room_id}/typing/{user_id}"): {"typing": True, "timeout": 1000},
    ("POST", "/rooms/{room_id}/read_markers"): {
        "m.fully_read": "$event",
        "m.read": "$event",
        "m.read.private": "$event",
    },
    ("POST", "/rooms/{room_id}/receipt/{receipt_type}/{event_id}"): {"thread_id": "main"},
    ("PUT", "/profile/{user_id}/{name}"): {"displayname": "name", "avatar_url": "mxc://x/y"},
    ("PUT", "/directory/list/room/{room_id}"): {"visibility": "public"},
    ("PUT", "/rooms/{room_id}/redact/{event_id}/{txn_id}"): {"reason": "because", "redacts": "$event"},
    ("POST", "/rooms/{room_id}/report/{event_id}"): {"reason": "because", "score": -100},
    ("POST", "/join/{room_id_or_alias}"): {"reason": "because", "third_party_signed": {"mxid": "@user"}},
    ("POST", "/_synapse/admin/v1/register"): {
        "nonce": "x",
        "username": "new",
        "password": PASSWORD,
        "displayname": "name",
        "admin": False,
        "user_type": "bot",
        "mac": "x",
        "device_id": "DEVICE",
        "initial_device_display_name": "name",
        "inhibit_login": True,
    },
    ("POST", "/_synapse/admin/v1/user/{user_id}/redact"): {
        "rooms": ["!room"],
        "reason": "because",
        "limit": 10,
        "use_admin": True,
        "before_ts": 1_600_000_000_000,
        "after_ts": 1_600_000_000_000,
        "event_types": ["m.room.message"],
        "dry_run": True,
    },
    ("DELETE", "/_synapse/admin/v2/rooms/{room_id}"): {
        "new_room_user_id": "@other",
        "room_name": "Name",
        "message": "Gone",
        "block": False,
        "purge": True,
        "force_purge": False,
        "dry_run": True,
    },
    ("POST", "/_synapse/admin/v1/purge_history/{room_id}"): {
        "delete_local_events": True,
        "purge_up_to_ts": 1_600_000_000_000,
        "purge_up_to_event_id": "$event",
        "dry_run": True,
    },
    ("PUT", "/_synapse/admin/v1/task_actions/{action}"): {"paused": False, "max_running": 1},
    ("POST", "/_synapse/admin/v1/scheduled_tasks/{task_id}/retry"): {"from": "cursor"},
    ("PUT", "/_synapse/admin/v1/rooms/{room_id}/block"): {"block": False},
}
