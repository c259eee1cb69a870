"""Keys of devices and users, messages to devices, key backup, dehydrated devices: as Synapse answers."""

from collections.abc import Mapping
from typing import Any

import pytest
from signedjson.key import encode_verify_key_base64, generate_signing_key, get_verify_key
from signedjson.sign import sign_json

from tests.interop.alike import Caller, Scenario, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
CURVE = "a" * 43
NOBODY = "@nobody:synapse.test"


class Signer:
    """An Ed25519 key of a user; of a device where it has a name, otherwise for cross-signing."""

    def __init__(self, caller: Caller, user: str, label: str, device_id: str | None = None) -> None:
        self.user_id = caller.names[user]
        self._key = generate_signing_key("x")
        self.public = encode_verify_key_base64(get_verify_key(self._key))
        self.device_id = device_id
        self._key.version = device_id or self.public
        caller.names[label] = self.public

    def sign(self, value: Mapping[str, Any]) -> dict[str, Any]:
        signed: dict[str, Any] = sign_json(dict(value), self.user_id, self._key)
        return signed

    def device_keys(self, **more: Any) -> dict[str, Any]:
        name = self.device_id
        keys = {f"curve25519:{name}": CURVE, f"ed25519:{name}": self.public}
        algorithms = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]
        return self.sign(
            {"user_id": self.user_id, "device_id": name, "algorithms": algorithms, "keys": keys, **more}
        )

    def one_time_keys(self, *letters: str, **more: Any) -> dict[str, Any]:
        return {f"signed_curve25519:{letter}": self.sign({"key": letter * 43, **more}) for letter in letters}

    def cross_key(self, usage: str, by: "Signer | None" = None, user_id: str | None = None) -> dict[str, Any]:
        """With the signature of the master key."""
        keys = {f"ed25519:{self.public}": self.public}
        value = {"user_id": user_id or self.user_id, "usage": [usage], "keys": keys}
        return by.sign(value) if by else value


def upload_keys(caller: Caller) -> None:
    """Keys of a device, one-time keys, fallback keys; good, bad and repeated."""
    caller.register("ada", "bob")
    device = Signer(caller, "ada", "key", caller.names["device of ada"])
    good = device.device_keys()
    keys = device.one_time_keys("A", "B", "C")
    fallback = device.one_time_keys("F", fallback=True)
    bodies: Mapping[str, Any] = {
        "nothing": None,
        "an empty body": b"",
        "a list": [],
        "no fields": {},
        "an unknown field": {"foo": 5},
        "text as device": {"device_keys": "x"},
        "text as algorithms": {"device_keys": {**good, "algorithms": "x"}},
        "a list of keys": {"device_keys": {**good, "keys": []}},
        "text as keys": {"one_time_keys": "x"},
        "a list as keys": {"one_time_keys": []},
        "a number as key": {"one_time_keys": {"signed_curve25519:A": 5}},
        "a key without an id": {"one_time_keys": {"signed_curve25519": "abc"}},
        "text as fallback": {"fallback_keys": "x"},
        "all": {"device_keys": good, "one_time_keys": keys, "fallback_keys": fallback},
        "all again": {"device_keys": good, "one_time_keys": keys, "fallback_keys": fallback},
        "another key of that id": {"one_time_keys": {"signed_curve25519:A": device.sign({"key": "z" * 43})}},
    }
    for label, body in bodies.items():
        caller.call(label, "POST", "keys/upload", body, "ada")
    caller.call("nobody", "POST", "keys/upload", {})
    caller.call("GET", "GET", "keys/upload", by="ada")


def query_and_claim(caller: Caller) -> None:
    """Of local users, unknown ones, and bad questions; one-time keys go in their order, the fallback key stays."""
    caller.register("ada", "bob")
    ada, device_id = caller.names["ada"], caller.names["device of ada"]
    device = Signer(caller, "ada", "key", device_id)
    keys, fallback = device.one_time_keys("A", "B"), device.one_time_keys("F", fallback=True)
    body = {"device_keys": device.device_keys(), "one_time_keys": keys, "fallback_keys": fallback}
    caller.call("upload", "POST", "keys/upload", body, "ada")
    caller.call("nobody asks", "POST", "keys/query", {})
    questions: Mapping[str, Any] = {
        "a list": [],
        "nobody": {},
        "all": {ada: []},
        "one": {ada: [device_id]},
        "an unknown device": {ada: ["ZZ"]},
        "an unknown user": {NOBODY: []},
        "no keys": {caller.names["bob"]: []},
        "null": {ada: None},
        "an object": {ada: {}},
        "text": {ada: "x"},
        "numbers": {ada: [5]},
    }
    for label, wanted in questions.items():
        caller.call(f"query {label}", "POST", "keys/query", {"device_keys": wanted, "timeout": 100}, "bob")
    caller.call("nobody claims", "POST", "keys/claim", {})
    claims: Mapping[str, Any] = {
        "a list": [],
        "nobody": {},
        "text": {ada: "x"},
        "an unknown user": {NOBODY: {"A": "signed_curve25519"}},
        "an unknown device": {ada: {"ZZ": "signed_curve25519"}},
        "an unknown algorithm": {ada: {device_id: "foo"}},
        **{f"number {number}": {ada: {device_id: "signed_curve25519"}} for number in range(4)},
    }
    for label, wanted in claims.items():
        caller.call(f"claim {label}", "POST", "keys/claim", {"one_time_keys": wanted}, "bob")


def counts_and_lists(caller: Caller) -> None:
    """What /sync says of one's keys and of the devices of others; /keys/changes says the same."""
    caller.register("ada", "bob")
    device = Signer(caller, "ada", "key", caller.names["device of ada"])
    caller.room("den", "ada", preset="public_chat")
    since = sync(caller, "at first", "")
    caller.ask("POST", "keys/upload", {"one_time_keys": device.one_time_keys("A")}, "ada")
    fallback = {"fallback_keys": device.one_time_keys("F", fallback=True)}
    caller.ask("POST", "keys/upload", {"device_keys": device.device_keys(), **fallback}, "ada")
    since = sync(caller, "with keys", since)
    caller.ask("POST", "join/{den}", {}, "bob")
    joined = sync(caller, "bob joined", since)
    of_bob = Signer(caller, "bob", "key of bob", caller.names["device of bob"])
    caller.ask("POST", "keys/upload", {"device_keys": of_bob.device_keys()}, "bob")
    uploaded = sync(caller, "bob has keys", joined)
    caller.call("changes", "GET", f"keys/changes?from={joined}&to={uploaded}", by="ada")
    caller.call("no changes", "GET", f"keys/changes?from={uploaded}&to={uploaded}", by="ada")
    caller.ask("POST", "rooms/{den}/leave", {}, "bob")
    left = sync(caller, "bob left", uploaded)
    caller.call("who left", "GET", f"keys/changes?from={uploaded}&to={left}", by="ada")
    for label, query in {"nothing": "", "bad tokens": "?from=a&to=b"}.items():
        caller.call(f"changes of {label}", "GET", f"keys/changes{query}", by="ada")
    caller.call("changes of nobody", "GET", "keys/changes?from=a&to=b")


def sync(caller: Caller, label: str, since: str) -> str:
    """Compares what concerns keys and devices."""
    answer = caller.ask("GET", f"sync?timeout=0{since and f'&since={since}'}", by="ada")
    for key in ("device_one_time_keys_count", "device_unused_fallback_key_types", "device_lists"):
        caller.compare(f"{label}: {key}", answer.body.get(key) or None)
    token: str = answer["next_batch"]
    return token


def cross_signing(caller: Caller) -> None:
    """Keys of a user, their replacement, and signatures."""
    caller.register("ada", "bob")
    device = Signer(caller, "ada", "key", caller.names["device of ada"])
    master, own, others, second = (
        Signer(caller, "ada", label) for label in ("master", "self-signing", "user-signing", "second master")
    )
    device_keys = device.device_keys()
    caller.ask("POST", "keys/upload", {"device_keys": device_keys}, "ada")
    path = "keys/device_signing/upload"
    good = {
        "master_key": master.cross_key("master"),
        "self_signing_key": own.cross_key("self_signing", master),
        "user_signing_key": others.cross_key("user_signing", master),
    }
    bodies: Mapping[str, Any] = {
        "an empty body": b"",
        "text": {"master_key": "x"},
        "an empty key": {"master_key": {}},
        "of another user": {"master_key": master.cross_key("master", user_id=caller.names["bob"])},
        "for nothing": {"master_key": master.cross_key("foo")},
        "unsigned": {**good, "self_signing_key": own.cross_key("self_signing")},
        "no master key": {"self_signing_key": good["self_signing_key"]},
        "good": good,
        "good again": good,
        "replaced without proof": {"master_key": second.cross_key("master")},
    }
    for label, body in bodies.items():
        caller.call(label, "POST", path, body, "ada")
    caller.call("nobody", "POST", path, {})
    signed = own.sign(device_keys)
    mine, name = caller.names["ada"], caller.names["device of ada"]
    for label, signatures in {
        "no signature": {},
        "a list": [],
        "signed": {mine: {name: signed}},
        "signed again": {mine: {name: signed}},
    }.items():
        caller.call(label, "POST", "keys/signatures/upload", signatures, "ada")
    caller.call("nobody signs", "POST", "keys/signatures/upload", {})
    for by in ("ada", "bob"):
        caller.call(f"for {by}", "POST", "keys/query", {"device_keys": {mine: []}}, by)
    identifier = {"type": "m.id.user", "user": mine}
    session = caller.answers["replaced without proof"]["session"]
    auth = {"type": "m.login.password", "identifier": identifier, "password": "secret", "session": session}
    caller.call("replaced", "POST", path, {**bodies["replaced without proof"], "auth": auth}, "ada")
    caller.call("for bob at last", "POST", "keys/query", {"device_keys": {mine: []}}, "bob")


def to_device(caller: Caller) -> None:
    """Messages to one device, to all, twice; what arrives."""
    caller.register("ada", "bob")
    bob, device_id = caller.names["bob"], caller.names["device of bob"]
    bodies: Mapping[str, Any] = {
        "nothing": None,
        "no fields": {},
        "a list": [],
        "text": {"messages": "x"},
        "null": {"messages": None},
        "text as user": {"messages": {bob: "x"}},
        "text as content": {"messages": {bob: {device_id: "x"}}},
        "none": {"messages": {}},
        "an unknown user": {"messages": {NOBODY: {"A": {}}}},
        "an unknown device": {"messages": {bob: {"ZZ": {}}}},
        "one": {"messages": {bob: {device_id: {"a": 1}}}},
        "a huge one": {"messages": {bob: {device_id: {"a": "x" * 80_000}}}},
        "all": {"messages": {bob: {"*": {"all": 1}}}},
        "no ASCII": {"messages": {bob: {device_id: {"é": "é\0"}}}},
    }
    for label, body in bodies.items():
        caller.call(label, "PUT", f"sendToDevice/m.x/{label}", body, "ada")
    caller.call("one again", "PUT", "sendToDevice/m.x/one", bodies["one"], "ada")
    caller.call("of another type", "PUT", "sendToDevice/m.y/one", bodies["one"], "ada")
    caller.call("nobody", "PUT", "sendToDevice/m.x/a", bodies["one"])
    caller.call("POST", "POST", "sendToDevice/m.x/a", bodies["one"], "ada")
    answer = caller.ask("GET", "sync?timeout=0", by="bob")
    caller.compare("arrived", answer["to_device"])
    answer = caller.ask("GET", f"sync?timeout=0&since={answer['next_batch']}", by="bob")
    caller.compare("nothing more", answer.body.get("to_device", {}).get("events", []))


UNSIGNED = ".device_keys.<ada>.<device of ada>.unsigned: is not there: {}"
EMPTY = "it is optional, and empty for devices without a name"
SCENARIOS: Mapping[Scenario, Mapping[str, str]] = {
    upload_keys: {},
    query_and_claim: {f"query {label}: {UNSIGNED}": EMPTY for label in ("all", "one")},
    counts_and_lists: {},
    cross_signing: {f"for {label}: {UNSIGNED}": EMPTY for label in ("ada", "bob", "bob at last")},
    to_device: {},
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_encryption(scenario: Scenario, synapse: Synapse, server: Server) -> None:
    """Clients find what they find on Synapse."""
    wrong = differences(scenario, synapse, server, SCENARIOS[scenario])
    assert not wrong, "\n".join(wrong)
