"""Waves of users: chosen by what they have in common, looked at, and then redacted or erased by one request."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest_twisted
from pytest_twisted import ensureDeferred

from synapse_lite.storage import accounts, devices
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.devices import DeviceUse
from synapse_lite.tasks.actions.redact_users import REDACT_USERS
from tests.builders import SERVER
from tests.rest.admin_server import V1, AdminServer

PATH = f"{V1}/user_selection"
CREATED = 1_600_000_000_000
WAVE = [f"@spam_{number}:{SERVER}" for number in range(3)]


@pytest_twisted.async_yield_fixture
async def server(server: AdminServer) -> AsyncIterator[AdminServer]:
    await server.database.transact(_make_wave)
    yield server


def _make_wave(txn: Transaction) -> None:
    """Three of a wave, and others that have one thing or another in common with them."""
    for number, user_id in enumerate(WAVE):
        new = NewAccount(user_id, CREATED + number, displayname="Buy (50%)", registration_token="leaked")
        accounts.create_account(txn, new)
        devices.create_device(txn, user_id, "D", None, 1)
        devices.write_uses(txn, [DeviceUse(user_id, "D", 1, f"203.0.113.{number}", "")])
    for name, more in (("spamXfilter", {}), ("spam_admin", {"is_admin": True}), ("old", {})):
        created = CREATED - 1 if name == "old" else CREATED
        accounts.create_account(txn, NewAccount(f"@{name}:{SERVER}", created, **more))
    accounts.create_account(txn, NewAccount(f"@spam_bridge:{SERVER}", CREATED))
    txn.execute("UPDATE users SET appservice_id = 'bridge' WHERE user_id LIKE '@spam_bridge:%'")
    txn.execute("UPDATE users SET shadow_banned = TRUE WHERE user_id = %s", (WAVE[1],))
    txn.execute("UPDATE users SET locked = TRUE, suspended = TRUE WHERE user_id = %s", (WAVE[2],))


async def selected(server: AdminServer, **wanted: Any) -> list[str]:
    answer = await server.admin("GET", f"{PATH}?{urlencode(wanted)}")
    names = [user["user_id"] for user in answer["users"]]
    assert answer["total"] == len(names)
    return names


@ensureDeferred
async def test_each_word_narrows_the_selection(server: AdminServer) -> None:
    """Globs fit literally but for their stars; administrators never fit; words are combined."""
    assert await selected(server, localpart="SPAM_*") == WAVE
    assert await selected(server, localpart="spam_?", created_after=CREATED + 1) == WAVE[1:]
    assert await selected(server, localpart="*spam*", created_before=CREATED + 1) == [
        f"@spamXfilter:{SERVER}",
        WAVE[0],
    ]
    assert await selected(server, displayname="buy (50%)*") == WAVE
    assert await selected(server, displayname="buy (50_)*") == []
    assert await selected(server, ip="203.0.113.*") == WAVE
    assert await selected(server, ip="203.0.113.1") == [WAVE[1]]
    assert await selected(server, registration_token="leaked") == WAVE
    assert await selected(server, shadow_banned="true") == [WAVE[1]]
    assert await selected(server, localpart="spam_*", shadow_banned="false", locked="true") == [WAVE[2]]
    assert await selected(server, localpart="spam_*", except_localpart="*_[1-]") == WAVE
    assert await selected(server, localpart="spam_*", except_localpart="*_1") == [WAVE[0], WAVE[2]]
    assert await selected(server, appservice="bridge") == [f"@spam_bridge:{SERVER}"]
    assert await selected(server, suspended="true", deactivated="false") == [WAVE[2]]


@ensureDeferred
async def test_those_of_a_room(server: AdminServer) -> None:
    """Who is in it, or was."""
    alice = await server.user("alice")
    room = await server.room(alice)
    carol = await server.user("carol")
    for name in ("bob", "carol", "dora"):
        token = carol if name == "carol" else await server.user(name)
        if name != "dora":
            await server.ok("POST", f"{room}/join", {}, token)
        if name == "bob":
            await server.ok("POST", f"{room}/leave", {}, token)
    room_id = room.removeprefix("rooms/")
    names = [f"@{name}:{SERVER}" for name in ("alice", "bob", "carol")]
    assert await selected(server, in_room=room_id) == names
    assert await selected(server, in_room=room_id, localpart="?o*") == names[1:2]
    await server.ok("PUT", f"{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}, carol)
    assert await selected(server, in_room=room_id, sent_nothing="true") == names[1:2]
    assert await selected(server, in_room=room_id, sent_nothing="false") == [names[0], names[2]]


@ensureDeferred
async def test_a_selection_is_paged(server: AdminServer) -> None:
    """In the order of the ids; each page begins after the last user of the one before."""
    first = await server.admin("GET", f"{PATH}?localpart=spam_*&limit=2")
    assert [user["user_id"] for user in first["users"]] == WAVE[:2]
    assert (first["total"], first["next_token"]) == (3, WAVE[1])
    second = await server.admin("GET", f"{PATH}?localpart=spam_*&limit=2&from={WAVE[1]}")
    assert [user["user_id"] for user in second["users"]] == WAVE[2:]
    assert "next_token" not in second
    assert second["users"][0] == {
        "user_id": WAVE[2],
        "displayname": "Buy (50%)",
        "created_ts": CREATED + 2,
        "last_seen_ts": 1,
        "shadow_banned": False,
        "suspended": True,
        "locked": True,
        "deactivated": False,
        "sent_events": 0,
    }


@ensureDeferred
async def test_a_wave_is_one_task(server: AdminServer) -> None:
    """Redacted or erased, counted or done: by a task that names everybody who fits now, with a part for each."""
    for path, action, body in (
        ("redact", "redact_users", {"dry_run": True}),
        ("redact", "redact_users", {"reason": "spam", "max_users": 3}),
        ("erase_users", "erase_users", {"reason": "spam"}),
    ):
        answer = await server.admin("POST", f"{V1}/{path}", {**body, "select": {"localpart": "spam_*"}})
        assert answer["users"] == 3
        task = await server.admin("GET", f"{V1}/scheduled_tasks/{answer['task_id']}")
        assert (task["action"], task["params"]["user_ids"]) == (action, WAVE)
        asked = task["params"].get("redaction") or task["params"]["erasure"]
        assert (asked["dry_run"], asked["reason"]) == (body.get("dry_run", False), body.get("reason"))
    await server.run_task(REDACT_USERS)
    parts = await server.admin("GET", f"{V1}/scheduled_tasks?action_name=redact_all_events")
    assert sorted(part["resource_id"] for part in parts["scheduled_tasks"]) == WAVE


@ensureDeferred
async def test_what_is_no_selection(server: AdminServer) -> None:
    """Everybody, nobody, more than allowed, oneself, users and a selection, a word that is misspelt."""
    fits = {"localpart": "spam_*"}
    for path in ("redact", "erase_users"):
        for body, errcode in (
            ({}, "M_MISSING_PARAM"),
            ({"select": {}}, "M_INVALID_PARAM"),
            ({"select": {"localpart": "nobody"}}, "M_UNKNOWN"),
            ({"select": fits, "max_users": 2}, "M_UNKNOWN"),
            ({"select": fits, "users": [WAVE[0]]}, "M_INVALID_PARAM"),
            ({"select": {"localpat": "spam_*"}}, "M_BAD_JSON"),
            ({"select": {"localpart": 3}}, "M_BAD_JSON"),
            ({"select": {"in_room": "x"}}, "M_UNKNOWN"),
            ({"users": ["nobody"]}, "M_INVALID_PARAM"),
        ):
            refused = await server.refusal("POST", f"{V1}/{path}", body, server.token)
            assert refused == (400, errcode), body
    for users in ([f"@admin:{SERVER}"], ["@spam:other.test"]):
        refused = await server.refusal("POST", f"{V1}/erase_users", {"users": users}, server.token)
        assert refused == (400, "M_UNKNOWN")
    for query in (
        "",
        "except_localpart=x",
        "localpart=",
        f"localpart={'x' * 256}",
        "created_after=x",
        "locked=maybe",
    ):
        assert await server.refusal("GET", f"{PATH}?{query}", None, server.token) == (400, "M_INVALID_PARAM")
