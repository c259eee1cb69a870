"""Pushers: how they are set, listed and taken back."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers.push import pushers
from tests.rest.contention import locked_until_met
from tests.rest.push.phone import Phone, pusher
from tests.server import TestServer


@ensureDeferred
async def test_pushers_are_bounded(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event is a request for each of them; one that is replaced is none more."""
    monkeypatch.setattr(pushers, "MAX_OF_USER", 1)
    token, path = await server.user("alice"), "pushers/set"
    gateway = "https://push.example/_matrix/push/v1/notify"
    for lang in ("en", "de"):
        await server.ok("POST", path, pusher(gateway, lang=lang), token)
    assert await server.refusal("POST", path, pusher(gateway, pushkey="more"), token) == (403, "M_FORBIDDEN")
    (kept,) = (await server.ok("GET", "pushers", None, token))["pushers"]
    assert (kept["pushkey"], kept["lang"]) == ("key", "de")


@ensureDeferred
async def test_a_key_has_one_user(server: TestServer) -> None:
    """Also when two take it at the same moment: the last one has it."""
    tokens = [await server.user(name) for name in ("alice", "bob")]
    gateway = "https://push.example/_matrix/push/v1/notify"
    async with locked_until_met(server, len(tokens), "SELECT FROM users", ()):
        taking = [
            Deferred.fromCoroutine(server.ok("POST", "pushers/set", pusher(gateway), token))
            for token in tokens
        ]
    await gatherResults(taking)
    found = [(await server.ok("GET", "pushers", None, token))["pushers"] for token in tokens]
    assert sorted(map(len, found)) == [0, 1]


@ensureDeferred
async def test_the_list(phone: Phone) -> None:
    """What was set is listed and replaced by the same key; kind null deletes."""
    listed = {**pusher(phone.gateway.url)}
    assert await phone.pushers() == [listed]
    await phone.set(profile_tag="x", lang="fr")
    assert await phone.pushers() == [{**listed, "profile_tag": "x", "lang": "fr"}]
    for kind in (None, None):
        await phone.server.ok(
            "POST", "pushers/set", {"kind": kind, "app_id": listed["app_id"], "pushkey": "key"}, phone.alice
        )
        assert await phone.pushers() == []
    mail = pusher("", kind="email", app_id="m.email", pushkey="alice@example.org", data={})
    await phone.server.ok("POST", "pushers/set", mail, phone.alice)
    assert await phone.pushers() == [mail]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": "pigeon"}, "M_INVALID_PARAM"),
        ({"app_id": "x" * 65}, "M_INVALID_PARAM"),
        ({"pushkey": "x" * 513}, "M_INVALID_PARAM"),
        ({"pushkey": 1}, "M_BAD_JSON"),
        ({"lang": None}, "M_BAD_JSON"),
        ({"data": {}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://example.org/elsewhere"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "ftp://example.org/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://[/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        (
            {"data": {"url": "https://example.org/_matrix/push/v1/notify", "format": "all"}},
            "M_INVALID_PARAM",
        ),
        ({"append": 1}, "M_BAD_JSON"),
    ],
)
@ensureDeferred
async def test_bad_pushers(server: TestServer, change: dict[str, Any], expected: str) -> None:
    """Refused, and nothing is stored."""
    alice = await server.user("alice")
    body = {**pusher("https://example.org/_matrix/push/v1/notify"), **change}
    assert await server.refusal("POST", "pushers/set", body, alice) == (400, expected)
    for name in ("kind", "app_id", "pushkey", "app_display_name", "device_display_name", "lang", "data"):
        less = {key: value for key, value in body.items() if key != name and key not in change}
        assert await server.refusal("POST", "pushers/set", less, alice) == (400, "M_MISSING_PARAM")
    assert (await server.ok("GET", "pushers", None, alice))["pushers"] == []


@ensureDeferred
async def test_mail_is_for_the_account(phone: Phone) -> None:
    """It outlives the session that asked for it."""
    mail = pusher("", kind="email", app_id="m.email", pushkey="alice@example.org", data={})
    await phone.server.ok("POST", "pushers/set", mail, phone.alice)
    await phone.server.ok("POST", "logout", {}, phone.alice)
    again = await phone.server.core.accounts.access_tokens.open("@alice:hs.test")
    assert (await phone.server.ok("GET", "pushers", None, again.token))["pushers"] == [mail]


@ensureDeferred
async def test_pushers_end_with_their_device(phone: Phone) -> None:
    """Logging out ends them; somebody else with the same key takes it over, unless they append."""
    carol = await phone.server.user("carol")
    for append, left in ((True, 1), (False, 0)):
        await phone.server.ok("POST", "pushers/set", pusher(phone.gateway.url, append=append), carol)
        assert len(await phone.pushers()) == left
    await phone.set(append=True)
    again = await phone.server.core.accounts.access_tokens.open("@alice:hs.test")
    await phone.server.ok("POST", "logout", {}, phone.alice)
    assert (await phone.server.ok("GET", "pushers", None, again.token))["pushers"] == []
    assert len((await phone.server.ok("GET", "pushers", None, carol))["pushers"]) == 1
