"""Terms that users have to agree to: at registration, before they write, by a link."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.config.model import Config
from synapse_lite.errors import ConfigError
from synapse_lite.rest.client.consent import pages
from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.server import OPEN, PASSWORD, TestServer, path_part

PAGE = """<html>{% if has_consented %}Thanks, {{ user }}{% elif public_version %}The terms, {{ version }}
{% else %}<form method="post"><input name="u" value="{{ user }}"><input name="h" value="{{ userhmac }}">
<input name="v" value="{{ version }}"></form>{% endif %}</html>"""
ASKED = {"msgtype": "m.text", "body": "Agree at %(consent_uri)s"}
ALICE = f"@alice:{SERVER}"


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    directory = tmp_path / "en"
    directory.mkdir()
    (directory / "1.0.html").write_text(PAGE)
    (directory / "success.html").write_text("<html>Welcome</html>")
    return {"version": "1.0", "template_dir": str(tmp_path)}


async def start(build_server: BuildServer, options: dict[str, Any], **more: Any) -> TestServer:
    return await build_server(**OPEN, form_secret="s", user_consent={**options, **more})


def link(uri: str) -> str:
    """The path of a page on this server."""
    parts = urlsplit(uri)
    assert parts.netloc == SERVER
    return f"{parts.path}?{parts.query}"


async def agree(server: TestServer, uri: str) -> int:
    """Send the form of the page."""
    shown = await server.call("GET", link(uri))
    fields = dict(re.findall(r'name="(\w)" value="([^"]*)"', shown.body.decode()))
    answer = await server.call("POST", "/_matrix/consent", urlencode(fields).encode())
    return answer.status


@ensureDeferred
async def test_who_has_not_agreed_cannot_write(build_server: BuildServer, options: dict[str, Any]) -> None:
    """They are told where to agree; then they can, at once. Leaving, reading and redacting they always could."""
    server = await start(build_server, options)
    alice, bob = await server.register("alice"), await server.register("bob")
    room = await server.room(alice)
    await server.ok("POST", f"{room}/join", {}, bob)
    said = await server.ok("PUT", f"{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}, alice)
    strict = await start(build_server, options, block_events_error="Agree: %(consent_uri)s")
    refusals = {
        "message": ("PUT", f"{room}/send/m.room.message/2", {"msgtype": "m.text", "body": "x"}),
        "state": ("PUT", f"{room}/state/m.room.topic/", {"topic": "x"}),
        "room": ("POST", "createRoom", {}),
        "invite": ("POST", f"{room}/invite", {"user_id": f"@carol:{SERVER}"}),
    }
    for method, path, body in refusals.values():
        answer = await strict.call(method, path, body, alice)
        told = answer.json()
        assert (answer.status, told["errcode"]) == (403, "M_CONSENT_NOT_GIVEN"), path
        assert told["error"] == f"Agree: {told['consent_uri']}"
    await strict.ok("GET", "sync", None, alice)
    await strict.ok("POST", f"{room}/leave", {}, bob)
    refused = await strict.refusal("POST", f"{room}/join", {}, bob)
    assert refused == (403, "M_CONSENT_NOT_GIVEN")
    await strict.ok("PUT", f"{room}/redact/{path_part(said['event_id'])}/3", {}, alice)
    assert await agree(strict, told["consent_uri"]) == 200
    for method, path, body in (refusals["message"], refusals["state"]):
        await strict.ok(method, path, body, alice)
    shown = await strict.call("GET", link(told["consent_uri"]))
    assert shown.body == f"<html>Thanks, {ALICE}</html>".encode()


@ensureDeferred
async def test_links_are_signed(build_server: BuildServer, options: dict[str, Any]) -> None:
    """Nobody agrees for somebody else, nor to what is not in force; the text itself is for everybody."""
    server = await start(build_server, options, block_events_error="%(consent_uri)s")
    alice = await server.register("alice")
    uri = (await server.call("POST", "createRoom", {}, alice)).json()["consent_uri"]
    signature = parse_qs(urlsplit(uri).query)["h"][0]
    page = "/_matrix/consent"
    public = await server.call("GET", page)
    assert public.body == b"<html>The terms, 1.0\n</html>"
    assert public.headers["X-Frame-Options"] == "DENY"
    for query, expected in (
        ({"u": "@bob:hs.test", "h": signature}, (403, "M_FORBIDDEN")),
        ({"u": ALICE}, (400, "M_MISSING_PARAM")),
        ({"v": "2.0"}, (404, "M_NOT_FOUND")),
        ({"v": "../../secret"}, (404, "M_NOT_FOUND")),
    ):
        assert await server.refusal("GET", f"{page}?{urlencode(query)}") == expected, query
    for form, expected in (
        ({"u": "@bob:hs.test", "h": signature, "v": "1.0"}, (403, "M_FORBIDDEN")),
        ({"u": ALICE, "h": signature, "v": "0.9"}, (400, "M_INVALID_PARAM")),
        ({"u": ALICE, "h": signature}, (400, "M_MISSING_PARAM")),
        ({"u": ALICE, "h": "é", "v": "1.0"}, (403, "M_FORBIDDEN")),
    ):
        assert await server.refusal("POST", page, urlencode(form).encode()) == expected, form
    assert await server.refusal("POST", page, b"\xff") == (400, "M_BAD_JSON")
    assert (await server.refusal("POST", "createRoom", {}, alice))[1] == "M_CONSENT_NOT_GIVEN"


@ensureDeferred
async def test_terms_at_registration(build_server: BuildServer, options: dict[str, Any]) -> None:
    """The client shows them, or opens the page of the stage; the account has agreed from the start."""
    server = await start(build_server, options, require_at_registration=True, block_events_error="x")
    asked = await server.call("POST", "register", {"username": "alice", "password": PASSWORD})
    challenge = asked.json()
    assert (asked.status, challenge["flows"]) == (401, [{"stages": ["m.login.terms", "m.login.dummy"]}])
    assert challenge["params"] == {
        "m.login.terms": {
            "policies": {
                "privacy_policy": {
                    "version": "1.0",
                    "en": {"name": "Privacy Policy", "url": f"https://{SERVER}/_matrix/consent?v=1.0"},
                }
            }
        }
    }
    fallback = f"auth/m.login.terms/fallback/web?session={challenge['session']}"
    assert (
        f'href="https://{SERVER}/_matrix/consent?v=1.0"' in (await server.call("GET", fallback)).body.decode()
    )
    assert (await server.call("POST", fallback, b"")).status == 200
    auth = {"type": "m.login.dummy", "session": challenge["session"]}
    made = await server.ok("POST", "register", {"username": "alice", "password": PASSWORD, "auth": auth})
    await server.room(made["access_token"])
    admin = await server.user("admin", is_admin=True)
    shown = await server.ok("GET", f"/_synapse/admin/v2/users/{ALICE}", None, admin)
    assert (shown["consent_version"], shown["consent_server_notice_sent"]) == ("1.0", None)
    assert shown["consent_ts"] is not None
    agreed = {"username": "bob", "password": PASSWORD, "auth": {"type": "m.login.terms"}}
    session = (await server.call("POST", "register", agreed)).json()["session"]
    await server.register("bob", auth={"type": "m.login.dummy", "session": session})
    refused = {"username": "eve", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    assert (await server.call("POST", "register", refused)).status == 401


@ensureDeferred
async def test_a_notice_asks(build_server: BuildServer, options: dict[str, Any]) -> None:
    """Once, whoever syncs without having agreed; its room can be joined, and a new version asks again."""
    more: dict[str, Any] = {"server_notice_content": ASKED, "block_events_error": "x"}
    notices = {"system_mxid_localpart": "notices"}
    server = await build_server(
        **OPEN, form_secret="s", user_consent={**options, **more}, server_notices=notices
    )
    alice = await server.register("alice")
    guest = (
        await (await build_server(**OPEN, allow_guest_access=True)).ok("POST", "register?kind=guest", {})
    )["access_token"]
    for token in (alice, alice, guest):
        await server.ok("GET", "sync", None, token)
    invited = (await server.ok("GET", "sync", None, alice))["rooms"]["invite"]
    (room_id,) = invited
    assert "rooms" not in await server.ok("GET", "sync", None, guest)
    room = f"rooms/{path_part(room_id)}"
    await server.ok("POST", f"{room}/join", {}, alice)

    async def texts(server: TestServer) -> list[str]:
        page = await server.ok("GET", f"{room}/messages?dir=b&limit=50", None, alice)
        return [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]

    (text,) = await texts(server)
    assert await agree(server, text.removeprefix("Agree at ")) == 200
    await server.room(alice)
    (Path(options["template_dir"]) / "en" / "2.0.html").write_text(PAGE)
    consent = {**options, **more, "version": "2.0"}
    again = await build_server(**OPEN, form_secret="s", user_consent=consent, server_notices=notices)
    for _ in range(2):
        await again.ok("GET", "sync", None, alice)
    assert len(await texts(again)) == 2


def test_pages_are_there_at_start(options: dict[str, Any], tmp_path: Path) -> None:
    """What is missing, and a template that is none, is a mistake of the configuration; so is a missing secret."""
    config = {"server_name": SERVER, "database": {"name": "psycopg2", "args": {}}, "form_secret": "s"}
    consent = Config.model_validate({**config, "user_consent": options}).user_consent
    assert consent is not None
    pages(consent)
    (tmp_path / "en" / "1.0.html").write_text("{% if %}")
    with pytest.raises(ConfigError, match=r"1\.0\.html"):
        pages(consent)
    (tmp_path / "en" / "success.html").unlink()
    with pytest.raises(ConfigError):
        pages(consent)
    for wrong in ({**config, "form_secret": None}, {**config, "user_consent": {"version": "../x"}}):
        with pytest.raises(ValueError, match=r"form_secret|version"):
            Config.model_validate({"user_consent": options, **wrong})
