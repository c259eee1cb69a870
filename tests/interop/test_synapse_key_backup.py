"""Key backup and dehydrated devices: as Synapse answers."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.interop.alike import Caller, Scenario, differences
from tests.interop.synapse import Synapse
from tests.interop.test_synapse_encryption import Signer
from tests.processes.harness import Server

VERSION = "room_keys/version"
KEYS = "room_keys/keys"
BACKUP: Mapping[str, Any] = {
    "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
    "auth_data": {"public_key": "abc"},
}
SESSION = {
    "first_message_index": 1,
    "forwarded_count": 0,
    "is_verified": False,
    "session_data": {"ephemeral": "x"},
}
ROOM = "!room:synapse.test"
DEHYDRATED = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"


def versions(caller: Caller) -> None:
    """Created, read, changed, deleted; their numbers do not come back."""
    caller.register("ada", "bob")
    for path in (VERSION, KEYS, f"{KEYS}?version=1"):
        caller.call(f"none yet: {path}", "GET", path, by="ada")
        caller.call(f"of nobody: {path}", "GET", path)
    for label, body in {
        "nothing": {},
        "an empty body": b"",
        "a list": [],
        "no data": {"algorithm": "a"},
        "no algorithm": {"auth_data": {}},
    }.items():
        caller.call(f"create: {label}", "POST", VERSION, body, "ada")
    for label in ("first", "second"):
        caller.call(f"the {label}", "POST", VERSION, BACKUP, "ada")
    for label, path in {
        "the newest": VERSION,
        "one": f"{VERSION}/2",
        "an older one": f"{VERSION}/1",
        "unknown": f"{VERSION}/999",
        "no number": f"{VERSION}/abc",
        "below zero": f"{VERSION}/-1",
    }.items():
        for by in ("ada", "bob"):
            caller.call(f"{label}: {by}", "GET", path, by=by)
    for label, body in {
        "nothing": {},
        "an empty body": b"",
        "no algorithm": {"auth_data": {}},
        "another algorithm": {"algorithm": "x", "auth_data": {}},
        "another version": {**BACKUP, "version": "99"},
        "new data": {**BACKUP, "auth_data": {"public_key": "def"}},
        "the same version": {**BACKUP, "version": "2"},
    }.items():
        caller.call(f"change: {label}", "PUT", f"{VERSION}/2", body, "ada")
    caller.call("change an unknown one", "PUT", f"{VERSION}/999", BACKUP, "ada")
    caller.call("after the changes", "GET", VERSION, by="ada")
    for by in (None, "bob", "ada"):
        caller.call(f"deleted by {by}", "DELETE", f"{VERSION}/2", by=by)
    caller.call("deleted unknown", "DELETE", f"{VERSION}/999", by="ada")
    caller.call("the first is the newest", "GET", VERSION, by="ada")
    caller.call("of a deleted one", "GET", f"{KEYS}?version=2", by="ada")
    caller.call("the third", "POST", VERSION, BACKUP, "ada")


def backed_up_keys(caller: Caller) -> None:
    """All, of a room, one: put, read, deleted; better ones win."""
    caller.register("ada", "bob")
    caller.ask("POST", VERSION, BACKUP, "ada")
    one = f"{KEYS}/{ROOM}/s1?version=1"
    for field in SESSION:
        body = {name: value for name, value in SESSION.items() if name != field}
        caller.call(f"without {field}", "PUT", one, body, "ada")
    for label, path, body in (
        ("nobody", f"{KEYS}?version=1", None),
        ("no rooms", f"{KEYS}?version=1", {}),
        ("no version", KEYS, {"rooms": {}}),
        ("an unknown version", f"{KEYS}?version=999", {"rooms": {}}),
        ("a list of rooms", f"{KEYS}?version=1", {"rooms": []}),
        ("a room of nothing", f"{KEYS}?version=1", {"rooms": {ROOM: {}}}),
        ("a session of nothing", f"{KEYS}?version=1", {"rooms": {ROOM: {"sessions": {"s": {}}}}}),
        ("no sessions", f"{KEYS}/{ROOM}?version=1", {}),
        ("all", f"{KEYS}?version=1", {"rooms": {ROOM: {"sessions": {"s1": SESSION, "s2": SESSION}}}}),
        ("a room", f"{KEYS}/{ROOM}?version=1", {"sessions": {"s3": SESSION}}),
        ("one", one, SESSION),
        ("a worse one", one, {**SESSION, "first_message_index": 5}),
        ("a better one", one, {**SESSION, "first_message_index": 0}),
        ("an odd name", f"{KEYS}/{ROOM}/a%2Fb%20c?version=1", SESSION),
    ):
        caller.call(f"put {label}", "PUT", path, body, None if label == "nobody" else "ada")
    paths = {
        "all": KEYS,
        "a room": f"{KEYS}/{ROOM}",
        "one": f"{KEYS}/{ROOM}/s1",
        "an odd name": f"{KEYS}/{ROOM}/a%2Fb%20c",
        "an unknown room": f"{KEYS}/!unknown:synapse.test",
        "an unknown one": f"{KEYS}/{ROOM}/zz",
    }
    for label, path in paths.items():
        caller.call(f"get {label}", "GET", f"{path}?version=1", by="ada")
        caller.call(f"get {label}: no version", "GET", path, by="ada")
        caller.call(f"get {label}: an unknown version", "GET", f"{path}?version=999", by="ada")
        caller.call(f"get {label}: by bob", "GET", f"{path}?version=1", by="bob")
        caller.call(f"get {label}: by nobody", "GET", f"{path}?version=1")
    for label in ("one", "a room", "all"):
        caller.call(f"delete {label}", "DELETE", f"{paths[label]}?version=1", by="ada")
        caller.call(f"delete {label}: no version", "DELETE", paths[label], by="ada")
        caller.call(f"delete {label}: unknown", "DELETE", f"{paths[label]}?version=999", by="ada")
    caller.ask("POST", VERSION, BACKUP, "ada")
    caller.call("put into an old version", "PUT", one, SESSION, "ada")
    caller.call("get of an old version", "GET", f"{KEYS}?version=1", by="ada")


def dehydrated_devices(caller: Caller) -> None:
    """Put, seen by others, its messages read, deleted."""
    caller.register("ada", "bob")
    signer = Signer(caller, "ada", "key", "DEHYDRATED")
    ada = caller.names["ada"]
    keys = signer.device_keys()
    good = {
        "device_id": "DEHYDRATED",
        "device_data": {"algorithm": "org.matrix.msc3814.v2", "device_pickle": "x"},
        "device_keys": keys,
        "one_time_keys": signer.one_time_keys("A"),
        "initial_device_display_name": "Dehydrated",
    }
    for method in ("GET", "DELETE"):
        caller.call(f"{method}: none yet", method, DEHYDRATED, by="ada")
        caller.call(f"{method}: nobody", method, DEHYDRATED)
    for label, body in {
        "an empty body": b"",
        "no keys": {name: value for name, value in good.items() if name != "device_keys"},
        "text as data": {**good, "device_data": "x"},
        "no algorithm": {**good, "device_data": {"device_pickle": "x"}},
        "a number as algorithm": {**good, "device_data": {"algorithm": 5}},
        "good": good,
    }.items():
        caller.call(f"put {label}", "PUT", DEHYDRATED, body, "ada")
    caller.call("it is there", "GET", DEHYDRATED, by="ada")
    caller.call("not for others", "GET", DEHYDRATED, by="bob")
    claim = {"one_time_keys": {ada: {"DEHYDRATED": "signed_curve25519"}}}
    caller.call("claimed", "POST", "keys/claim", claim, "bob")
    messages = {"messages": {ada: {"DEHYDRATED": {"a": 1}}}}
    caller.ask("PUT", "sendToDevice/m.x/1", messages, "bob")
    events = f"{DEHYDRATED}/DEHYDRATED/events"
    for by in (None, "bob", "ada"):
        caller.call(f"messages for {by}", "POST", events, {}, by)
    following = {"next_batch": caller.answers["messages for ada"]["next_batch"]}
    caller.compare("no more messages", caller.ask("POST", events, following, "ada")["events"])
    caller.call("messages of an unknown device", "POST", f"{DEHYDRATED}/ZZ/events", {}, "ada")
    login = {"type": "m.login.password", "user": ada, "password": "secret", "device_id": "DEHYDRATED"}
    caller.call("a session in its place", "POST", "login", login)
    caller.call("deleted", "DELETE", DEHYDRATED, by="ada")
    caller.call("deleted again", "DELETE", DEHYDRATED, by="ada")
    caller.call("its messages", "POST", events, {}, "ada")


SCENARIOS: Mapping[Scenario, Mapping[str, str]] = {
    versions: {},
    backed_up_keys: {
        "delete all: .etag": "nothing was left to delete",
        "put into an old version: .current_version": "the newest one, as specified",
    },
    dehydrated_devices: {
        "a session in its place: status": "is refused: it has not the private halves of the keys",
    },
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_key_backup(scenario: Scenario, synapse: Synapse, server: Server) -> None:
    """Clients find what they find on Synapse."""
    wrong = differences(scenario, synapse, server, SCENARIOS[scenario])
    assert not wrong, "\n".join(wrong)
