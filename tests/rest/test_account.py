"""One's own account over HTTP."""

import logging
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from tests.rest.conftest import BuildHome
from tests.rest.home import OPEN, Home

PATH = "account/password"


def _change(new: str, password: str = "secret", **more: Any) -> dict[str, Any]:
    auth = {"type": "m.login.password", "user": "@name:hs.test", "password": password}
    return {"new_password": new, "auth": auth, **more}


async def _can_log_in(home: Home, password: str) -> bool:
    body = {"type": "m.login.password", "user": "name", "password": password, "device_id": "L"}
    return (await home.call("POST", "login", body)).status == 200


@ensureDeferred
async def test_a_token_without_a_device(home: Home) -> None:
    """It names the user alone."""
    await home.register("name")
    session = await home.sessions.open_without_device("@name:hs.test", None)
    me = await home.ok("GET", "account/whoami", token=session.token)
    assert me == {"user_id": "@name:hs.test", "is_guest": False}


@ensureDeferred
async def test_a_password_is_changed_with_the_old_one(home: Home) -> None:
    """Other sessions end unless that is not wanted; one's own stays."""
    token = await home.register("name")
    other = await home.sessions.open("@name:hs.test")
    answer = await home.call("POST", PATH, {"new_password": "second"}, token)
    assert answer.status == 401
    assert answer.json()["flows"] == [{"stages": ["m.login.password"]}]
    answer = await home.call("POST", PATH, _change("second", "wrong"), token)
    assert (answer.status, answer.json()["errcode"]) == (401, "M_FORBIDDEN")
    assert await home.ok("POST", PATH, _change("second", logout_devices=False), token) == {}
    await home.ok("GET", "account/whoami", token=other.token)
    assert await home.ok("POST", PATH, _change("third", "second"), token) == {}
    assert await home.refusal("GET", "account/whoami", token=other.token) == (401, "M_UNKNOWN_TOKEN")
    await home.ok("GET", "account/whoami", token=token)
    assert [await _can_log_in(home, word) for word in ("second", "third")] == [False, True]


@ensureDeferred
async def test_bad_changes_are_refused(build_home: BuildHome) -> None:
    """Without a new password, with an impossible one, with somebody else's, where passwords are off."""
    home = build_home(**OPEN)
    token = await home.register("name")
    await home.register("other")
    assert await home.refusal("POST", PATH, {"auth": _change("")["auth"]}, token) == (400, "M_MISSING_PARAM")
    assert await home.refusal("POST", PATH, _change(""), token) == (400, "M_UNKNOWN")
    assert await home.refusal("POST", PATH, _change("x" * 513), token) == (400, "M_INVALID_PARAM")
    theirs = {"type": "m.login.password", "user": "other", "password": "secret"}
    assert await home.refusal("POST", PATH, _change("new", auth=theirs), token) == (401, "M_FORBIDDEN")
    assert await home.refusal("POST", PATH, _change("new")) == (401, "M_MISSING_TOKEN")
    closed = build_home(password_config={"enabled": False})
    assert await closed.refusal("POST", PATH, _change("new"), token) == (403, "M_FORBIDDEN")
    assert await _can_log_in(home, "secret")


@ensureDeferred
async def test_no_table_holds_a_secret(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """Neither passwords nor tokens are in any row or in the log, after all that is done with them."""
    caplog.set_level(logging.DEBUG)
    secrets = ["first password", "second password", "wrong password"]
    token = await home.register("name", password=secrets[0])
    login = {"type": "m.login.password", "user": "name", "password": secrets[0]}
    secrets += [token, (await home.ok("POST", "login", login))["access_token"]]
    assert (await home.call("POST", "login", {**login, "password": secrets[2]})).status == 403
    assert (await home.call("POST", PATH, _change(secrets[1], secrets[2]), token)).status == 401
    await home.call("POST", PATH, _change(secrets[1], secrets[0]), token)
    assert await _can_log_in(home, secrets[1])
    await home.refusal("GET", f"account/whoami?access_token={secrets[4]}")
    rows = await home.database.read(_all_rows)
    assert any("$argon2id$" in row for row in rows)
    for secret in secrets:
        assert not [row for row in rows if secret in row]
        assert secret not in caplog.text


def _all_rows(txn: Transaction) -> list[str]:
    tables = txn.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return [row for (table,) in tables for (row,) in txn.rows(f"SELECT t::text FROM {table} AS t")]
