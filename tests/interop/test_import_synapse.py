"""Users, sessions and keys that real Synapse has stored go on on this server, as if nothing had happened."""

from typing import Any

import pytest
from attrs import frozen
from click.testing import CliRunner

from synapse_lite.cli import main
from synapse_lite.cli.api import ApiError, call
from tests.interop.synapse import Arguments, Synapse, synapse_database
from tests.processes.conftest import BuildSite, build_site
from tests.processes.site import SERVER, Site
from tests.signing import Device, Identity

__all__ = ["build_site", "synapse_database"]

CLIENT = "/_matrix/client/v3"
UNSTABLE = "/_matrix/client/unstable/org.matrix.msc3814.v1"
PEPPER = {"password_config": {"pepper": "Pfeffer"}}
OPTIONS = {
    "background_updates": {"sleep_enabled": False},
    "experimental_features": {"msc3814_enabled": True},
}
PASSWORD = "pass wörd ﬁ"  # with a letter that NFKC makes two of
ROOM = f"!room:{SERVER}"
RULES: dict[str, dict[str, Any]] = {
    "override/first": {
        "conditions": [{"kind": "event_match", "key": "type", "pattern": "m.a"}],
        "actions": ["notify"],
    },
    "override/second": {"conditions": [], "actions": []},
    "content/word": {"pattern": "x*", "actions": ["notify", {"set_tweak": "sound", "value": "default"}]},
    f"room/{ROOM}": {"actions": []},
    f"sender/@bob:{SERVER}": {"actions": ["notify"]},
    "underride/few": {
        "conditions": [{"kind": "room_member_count", "is": "2"}],
        "actions": ["notify", {"set_tweak": "highlight"}],
    },
}
BACKUP = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "abc"}}
ROOM_KEY = {
    "first_message_index": 1,
    "forwarded_count": 0,
    "is_verified": True,
    "session_data": {"ciphertext": "x"},
}


class Client:
    """Speaks for one session, with whatever server has its address."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        base = "" if path.startswith("/_") else CLIENT
        return call(method, f"{self.url}{base}{path}", body, token=self.token)


@frozen
class Before:
    """What clients were told by Synapse, and what they hold."""

    user_id: str
    phone: Device
    token: str
    refreshed: dict[str, Any]
    refresh_token: str
    filter_id: str
    rules: dict[str, Any]
    keys: dict[str, Any]
    version: dict[str, Any]
    since: str
    sliding_since: str


@frozen
class Moved:
    site: Site
    before: Before

    def client(self, token: str | None = None) -> Client:
        return Client(self.site.url(), token or self.before.token)


@pytest.fixture(scope="module")
def moved(
    build_site: BuildSite, tmp_path_factory: pytest.TempPathFactory, synapse_database: Arguments
) -> Moved:
    """Synapse is filled and stopped, its data taken over, and this server started."""
    directory = tmp_path_factory.mktemp("synapse")
    synapse = Synapse(directory, server_name=SERVER, options={**PEPPER, **OPTIONS}, database=synapse_database)
    with synapse:
        before = fill(synapse)
    site = build_site("main", **PEPPER)
    site.start("main")
    site.stop("main")
    command = ["import-synapse", *site.config_words("main"), "--database", synapse.database]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "not valid" not in result.output, result.output
    site.start("main")
    return Moved(site, before)


def fill(synapse: Synapse) -> Before:
    session = synapse.register("alice", PASSWORD, admin=True)
    synapse.register("bob", PASSWORD)
    user_id, device_id = session["user_id"], session["device_id"]
    alice = Client(synapse.base_url, session["access_token"])
    phone = Device.of(user_id, device_id)
    upload_keys(alice, user_id, phone)
    for name, rule in RULES.items():
        alice("PUT", f"/pushrules/global/{name}", rule)
    alice("PUT", "/pushrules/global/override/second/enabled", {"enabled": False})
    alice("PUT", "/pushrules/global/underride/.m.rule.message/actions", {"actions": []})
    alice("PUT", "/pushrules/global/override/.m.rule.suppress_notices/enabled", {"enabled": False})
    alice("PUT", f"/user/{user_id}/account_data/m.direct", {f"@bob:{SERVER}": [ROOM]})
    alice("PUT", f"/profile/{user_id}/displayname", {"displayname": "Älice"})
    alice("PUT", f"/devices/{device_id}", {"display_name": "Phone"})
    alice("POST", "/pushers/set", PUSHER)
    version = alice("POST", "/room_keys/version", BACKUP)["version"]
    sessions = {"rooms": {ROOM: {"sessions": {"s1": ROOM_KEY, "s2": ROOM_KEY}}}}
    alice("PUT", f"/room_keys/keys?version={version}", sessions)
    filters = [alice("POST", f"/user/{user_id}/filter", {"room": {"timeline": {"limit": n}}}) for n in (3, 4)]
    first = log_in(synapse.base_url, refresh_token=True)
    refreshed = alice("POST", "/refresh", {"refresh_token": first["refresh_token"]})
    since = alice("GET", "/sync")["next_batch"]
    older = messages_to_device(alice, None)["next_batch"]
    for number in range(3):
        messages = {user_id: {device_id: {"n": number}}}
        alice("PUT", f"/sendToDevice/m.test/{number}", {"messages": messages})
    synapse.wait_for_updates()
    return Before(
        user_id,
        phone,
        session["access_token"],
        refreshed,
        first["refresh_token"],
        filters[1]["filter_id"],
        alice("GET", "/pushrules/")["global"],
        query(alice, user_id),
        alice("GET", "/room_keys/version"),
        since,
        older,
    )


PUSHER = {
    "kind": "http",
    "app_id": "app",
    "pushkey": "key",
    "app_display_name": "App",
    "device_display_name": "Phone",
    "lang": "de",
    "data": {"url": "http://127.0.0.1:9/_matrix/push/v1/notify"},
}


def upload_keys(alice: Client, user_id: str, phone: Device) -> None:
    keys = {
        "device_keys": phone.keys,
        "one_time_keys": phone.one_time_keys("A", "B"),
        "fallback_keys": phone.fallback_keys("F"),
    }
    alice("POST", "/keys/upload", keys)
    identity = Identity.of(user_id)
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}}
    upload = {**identity.upload, "auth": {**auth, "password": PASSWORD}}
    alice("POST", "/keys/device_signing/upload", upload)
    own = identity.self_signing.sign(phone.keys)
    alice("POST", "/keys/signatures/upload", {user_id: {phone.signer.name: own}})
    waiting = Device.of(user_id, "WAITS")
    named = {"device_id": "WAITS", "initial_device_display_name": "Dehydrated"}
    dehydrated = {**named, "device_data": {"algorithm": "x"}, "device_keys": waiting.keys}
    alice("PUT", f"{UNSTABLE}/dehydrated_device", dehydrated)


def log_in(url: str, **more: Any) -> Any:
    identifier = {"type": "m.id.user", "user": "alice"}
    body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD, **more}
    return call("POST", f"{url}{CLIENT}/login", body)


def query(alice: Client, user_id: str) -> dict[str, Any]:
    found: dict[str, Any] = alice("POST", "/keys/query", {"device_keys": {user_id: []}})
    return found


def messages_to_device(alice: Client, since: str | None) -> Any:
    """As sliding sync tells of them."""
    more = {} if since is None else {"since": since}
    body = {"lists": {}, "extensions": {"to_device": {"enabled": True, **more}}}
    answer = alice("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", body)
    return answer["extensions"]["to_device"]


def test_sessions(moved: Moved) -> None:
    """The old access token, the password, and the refresh token, also the one before the last refresh."""
    before, alice = moved.before, moved.client()
    assert alice("GET", "/account/whoami")["device_id"] == before.phone.signer.name
    assert log_in(moved.site.url())["user_id"] == before.user_id
    assert alice("GET", f"/profile/{before.user_id}") == {"displayname": "Älice"}
    assert alice("GET", f"/devices/{before.phone.signer.name}")["display_name"] == "Phone"
    again = alice("POST", "/refresh", {"refresh_token": before.refresh_token})
    newest = alice("POST", "/refresh", {"refresh_token": before.refreshed["refresh_token"]})
    for session in (again, newest):
        assert session["access_token"]
    with pytest.raises(ApiError) as refused:
        alice("POST", "/refresh", {"refresh_token": before.refresh_token})
    assert refused.value.status == 401
    moved.client(newest["access_token"])("GET", "/account/whoami")


def test_keys(moved: Moved) -> None:
    """They are what they were, and each one-time key is given out once."""
    before, alice = moved.before, moved.client()
    assert strip(query(alice, before.user_id)) == strip(before.keys)
    device_id = before.phone.signer.name
    wanted = {"one_time_keys": {before.user_id: {device_id: "signed_curve25519"}}}
    given = [alice("POST", "/keys/claim", wanted)["one_time_keys"] for _ in range(3)]
    names = [name for one in given for name in one[before.user_id][device_id]]
    assert names == [f"signed_curve25519:{letter}" for letter in "ABF"]
    assert alice("GET", f"{UNSTABLE}/dehydrated_device")["device_data"] == {"algorithm": "x"}


def strip(keys: dict[str, Any]) -> Any:
    """Without what tells how the answer was come by."""
    return {name: value for name, value in keys.items() if value}


def test_key_backup(moved: Moved) -> None:
    """With its etag, by which a client knows it."""
    alice = moved.client()
    assert alice("GET", "/room_keys/version") == moved.before.version
    kept = alice("GET", f"/room_keys/keys?version={moved.before.version['version']}")
    assert kept == {"rooms": {ROOM: {"sessions": {"s1": ROOM_KEY, "s2": ROOM_KEY}}}}


def test_waiting_messages(moved: Moved) -> None:
    """In their order, once; to a client that goes on from where it was with Synapse."""
    sliding = messages_to_device(moved.client(), moved.before.sliding_since)
    assert [one["content"]["n"] for one in sliding["events"]] == [0, 1, 2]
    answer = moved.client()("GET", f"/sync?since={moved.before.since}")
    assert [one["content"]["n"] for one in answer["to_device"]["events"]] == [0, 1, 2]
    again = moved.client()("GET", f"/sync?since={answer['next_batch']}")
    assert "to_device" not in again or again["to_device"]["events"] == []


def test_account_data(moved: Moved) -> None:
    """Filters by their old numbers; pushers."""
    before, alice = moved.before, moved.client()
    path = f"/user/{before.user_id}"
    assert alice("GET", f"{path}/account_data/m.direct") == {f"@bob:{SERVER}": [ROOM]}
    assert alice("GET", f"{path}/filter/{before.filter_id}") == {"room": {"timeline": {"limit": 4}}}
    alice("GET", f"/sync?filter={before.filter_id}")
    new = alice("POST", f"{path}/filter", {"room": {"timeline": {"limit": 5}}})
    assert int(new["filter_id"]) > int(before.filter_id)
    (pusher,) = alice("GET", "/pushers")["pushers"]
    assert {name: pusher[name] for name in PUSHER} == PUSHER


def test_push_rules(moved: Moved) -> None:
    """Each rule that both servers have, in the same order; of predefined ones what the user has set."""
    now = moved.client()("GET", "/pushrules/")["global"]
    then = moved.before.rules
    for kind in ("override", "content", "room", "sender", "underride"):
        own = [rule for rule in now[kind] if not rule["default"]]
        assert own == [rule for rule in then[kind] if not rule["default"]]
        enabled = {rule["rule_id"]: rule["enabled"] for rule in then[kind]}
        assert all(rule["enabled"] == enabled.get(rule["rule_id"], rule["enabled"]) for rule in now[kind])
    (message,) = [rule for rule in now["underride"] if rule["rule_id"] == ".m.rule.message"]
    assert message["actions"] == []
