"""One's own account over HTTP."""

import logging
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.user_admin import replace_threepids
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer

PATH = "account/password"


def _change(new: str, password: str = "secret", **more: Any) -> dict[str, Any]:
    auth = {"type": "m.login.password", "user": "@name:hs.test", "password": password}
    return {"new_password": new, "auth": auth, **more}


async def _can_log_in(server: TestServer, password: str) -> bool:
    body = {"type": "m.login.password", "user": "name", "password": password, "device_id": "L"}
    return (await server.call("POST", "login", body)).status == 200


@ensureDeferred
async def test_a_token_without_a_device(server: TestServer) -> None:
    """It names the user alone."""
    await server.register("name")
    session = await server.core.accounts.access_tokens.open_without_device("@name:hs.test", None)
    me = await server.ok("GET", "account/whoami", token=session.token)
    assert me == {"user_id": "@name:hs.test", "is_guest": False}


@ensureDeferred
async def test_a_password_is_changed_with_the_old_one(server: TestServer) -> None:
    """Other sessions end unless that is not wanted; one's own stays."""
    token = await server.register("name")
    other = await server.core.accounts.access_tokens.open("@name:hs.test")
    answer = await server.call("POST", PATH, {"new_password": "second"}, token)
    assert answer.status == 401
    assert answer.json()["flows"] == [{"stages": ["m.login.password"]}]
    answer = await server.call("POST", PATH, _change("second", "wrong"), token)
    assert (answer.status, answer.json()["errcode"]) == (401, "M_FORBIDDEN")
    assert await server.ok("POST", PATH, _change("second", logout_devices=False), token) == {}
    await server.ok("GET", "account/whoami", token=other.token)
    assert await server.ok("POST", PATH, _change("third", "second"), token) == {}
    assert await server.refusal("GET", "account/whoami", token=other.token) == (401, "M_UNKNOWN_TOKEN")
    await server.ok("GET", "account/whoami", token=token)
    assert [await _can_log_in(server, word) for word in ("second", "third")] == [False, True]


@ensureDeferred
async def test_who_proves_their_password_may_be_known_by_an_address(server: TestServer) -> None:
    """As at a login; somebody else's address with their password proves nothing."""
    token, other = await server.register("name"), await server.register("other", password="theirs")
    by_address = {"type": "m.id.thirdparty", "medium": "email", "address": "Name@mail.test"}
    threepids = [("email", "name@mail.test")]
    await server.database.transact(replace_threepids, "@name:hs.test", threepids, 5)
    auth = {"type": "m.login.password", "identifier": by_address, "password": "secret"}
    assert (await server.call("POST", PATH, {"new_password": "own", "auth": auth}, other)).status == 401
    assert await server.ok("POST", PATH, {"new_password": "second", "auth": auth}, token) == {}
    old = {"type": "m.login.password", "medium": "email", "address": "name@mail.test", "password": "second"}
    assert await server.ok("POST", PATH, {"new_password": "third", "auth": old}, token) == {}
    assert await _can_log_in(server, "third")


@ensureDeferred
async def test_a_proof_without_a_new_password(server: TestServer) -> None:
    """It is not used up: the client may add what it forgot."""
    token = await server.register("name")
    session = (await server.call("POST", PATH, {"new_password": "second"}, token)).json()["session"]
    body = _change("second")
    body["auth"]["session"] = session
    refused = await server.refusal("POST", PATH, {"auth": body["auth"]}, token)
    assert refused == (400, "M_MISSING_PARAM")
    assert await server.ok("POST", PATH, body, token) == {}


@ensureDeferred
async def test_bad_changes_are_refused(build_server: BuildServer) -> None:
    """Without a new password, with an impossible one, with somebody else's, where passwords are off."""
    server = await build_server(**OPEN)
    token = await server.register("name")
    await server.register("other")
    assert await server.refusal("POST", PATH, {"auth": _change("")["auth"]}, token) == (
        400,
        "M_MISSING_PARAM",
    )
    assert await server.refusal("POST", PATH, _change(""), token) == (400, "M_UNKNOWN")
    assert await server.refusal("POST", PATH, _change("x" * 513), token) == (400, "M_INVALID_PARAM")
    theirs = {"type": "m.login.password", "user": "other", "password": "secret"}
    assert await server.refusal("POST", PATH, _change("new", auth=theirs), token) == (401, "M_FORBIDDEN")
    assert await server.refusal("POST", PATH, _change("new")) == (401, "M_MISSING_TOKEN")
    closed = await build_server(password_config={"enabled": False})
    assert await closed.refusal("POST", PATH, _change("new"), token) == (403, "M_FORBIDDEN")
    assert await _can_log_in(server, "secret")


@ensureDeferred
async def test_a_password_that_may_not_be_chosen(build_server: BuildServer) -> None:
    """It is refused before the old one is asked for."""
    policy = {"enabled": True, "minimum_length": 6, "require_digit": True}
    server = await build_server(**OPEN, password_config={"policy": policy})
    token = await server.register("name", password="secret1")
    for new, errcode in (("12345", "M_PASSWORD_TOO_SHORT"), ("letters", "M_PASSWORD_NO_DIGIT")):
        assert await server.refusal("POST", PATH, {"new_password": new}, token) == (400, errcode)
    assert (await server.call("POST", PATH, {"new_password": "secret2"}, token)).status == 401


@ensureDeferred
async def test_no_table_holds_a_secret(server: TestServer, caplog: pytest.LogCaptureFixture) -> None:
    """Neither passwords nor tokens are in any row or in the log, after all that is done with them."""
    caplog.set_level(logging.DEBUG)
    secrets = ["first password", "second password", "wrong password"]
    token = await server.register("name", password=secrets[0])
    login = {"type": "m.login.password", "user": "name", "password": secrets[0]}
    secrets += [token, (await server.ok("POST", "login", login))["access_token"]]
    assert (await server.call("POST", "login", {**login, "password": secrets[2]})).status == 403
    assert (await server.call("POST", PATH, _change(secrets[1], secrets[2]), token)).status == 401
    await server.call("POST", PATH, _change(secrets[1], secrets[0]), token)
    assert await _can_log_in(server, secrets[1])
    await server.refusal("GET", f"account/whoami?access_token={secrets[4]}")
    rows = await server.database.read(_all_rows)
    assert any("$argon2id$" in row for row in rows)
    for secret in secrets:
        assert not [row for row in rows if secret in row]
        assert secret not in caplog.text


def _all_rows(txn: Transaction) -> list[str]:
    tables = txn.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return [row for (table,) in tables for (row,) in txn.rows(f"SELECT t::text FROM {table} AS t")]


@ensureDeferred
async def test_an_account_is_closed_by_its_owner(server: TestServer) -> None:
    """With the password; then nobody gets in, by a token, a password, or registering the name again."""
    token = await server.register("name", device_id="D")
    asked = await server.call("POST", "account/deactivate", {}, token)
    assert (asked.status, asked.json()["flows"]) == (401, [{"stages": ["m.login.password"]}])
    refused = {"auth": {"type": "m.login.password", "user": "name", "password": "wrong"}}
    assert (await server.call("POST", "account/deactivate", refused, token)).status == 401
    assert await server.refusal("POST", "account/deactivate", {"erase": 1}, token) == (400, "M_BAD_JSON")
    body = {"auth": {"type": "m.login.password", "user": "name", "password": "secret"}, "erase": True}
    answer = await server.ok("POST", "account/deactivate", body, token)
    assert answer == {"id_server_unbind_result": "success"}
    assert await server.refusal("GET", "account/whoami", token=token) == (401, "M_UNKNOWN_TOKEN")
    assert not await _can_log_in(server, "secret")
    taken = {"username": "name", "password": "secret", "auth": {"type": "m.login.dummy"}}
    assert await server.refusal("POST", "register", taken) == (400, "M_USER_IN_USE")
    row = await server.database.read(
        lambda txn: txn.row(
            "SELECT deactivated, erased, password_hash FROM users WHERE user_id LIKE '@name%'"
        )
    )
    assert row == (True, True, None)
    tasks = (await server.core.queue.find(actions=["deactivate_user"])).tasks
    assert [task.resource_id for task in tasks] == ["@name:hs.test"]
