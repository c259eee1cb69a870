"""What application services are told so that they can encrypt as their users, as by Synapse."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.alike import Caller, differences
from tests.interop.app_services import Json, Sides, both_sides, ghosts
from tests.interop.test_app_service_events import Room
from tests.interop.test_synapse_encryption import Signer
from tests.processes.harness import wait_until

DEVICE = "user_id={puppet}&device_id=PHONE"
LISTS = "org.matrix.msc3202.device_lists"
COUNTS = (
    "org.matrix.msc3202.device_one_time_keys_count",
    "org.matrix.msc3202.device_one_time_key_counts",
    "org.matrix.msc3202.device_unused_fallback_key_types",
)
MESSAGES = "de.sorunome.msc2409.to_device"


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    with both_sides(tmp_path_factory.mktemp("sides")) as sides:
        yield sides


def devices(sides: Sides, caller: Caller) -> None:
    """Messages for a ghost's device come with what is left of its keys; changes of devices by themselves."""
    caller.register("ada")
    ghosts(caller, "puppet", service="secret", prefix="_secret_")
    caller.room("den", "ada", preset="public_chat")
    service = sides.of(caller)["secret"]

    def do(method: str, path: str, body: Any, by: str = "as_secret") -> None:
        answer = caller.ask(method, path, body, by)
        assert answer.status in {200, 201}, answer

    def messages() -> list[Json]:
        return [one for sent in service.transactions for one in sent.body.get(MESSAGES, ())]

    def changed() -> set[str]:
        return {user for sent in service.transactions for user in sent.body.get(LISTS, {}).get("changed", ())}

    def send(text: str) -> None:
        """To the device, and to one that there is not; the transaction that brings it."""
        to = {"PHONE": {"text": text}, "NONE": {"text": "lost"}}
        do("PUT", f"sendToDevice/org.example/{text}", {"messages": {caller.names["puppet"]: to}}, "ada")
        wait_until(lambda: text in str(messages()), text, 60)
        (sent,) = [one.body for one in service.transactions if text in str(one.body.get(MESSAGES))]
        caller.compare(f"{text}: messages", [{**one, "keys": sorted(one)} for one in sent[MESSAGES]])
        caller.compare(f"{text}: events", sent["events"])
        for name in COUNTS:
            mine = sent.get(name, {}).get(caller.names["puppet"], {})
            caller.compare(f"{text}: {name}", sorted(mine.items()))

    do("PUT", "devices/PHONE?user_id={puppet}", {})
    Room(caller, service).member("join", {}, "as_secret", "user_id={puppet}")
    send("without keys")
    own = Signer(caller, "puppet", "its key", "PHONE")
    ours = {
        "one_time_keys": own.one_time_keys("A", "B"),
        "fallback_keys": own.one_time_keys("F", fallback=True),
    }
    do("POST", f"keys/upload?{DEVICE}", {"device_keys": own.device_keys(), **ours})
    wait_until(lambda: caller.names["puppet"] in changed(), "its own device", 60)
    send("with keys")
    claim = {"one_time_keys": {caller.names["puppet"]: {"PHONE": "signed_curve25519"}}}
    for left in ("one key", "no key", "no fallback key"):
        do("POST", "keys/claim", claim, "ada")
        send(left)
    hers = Signer(caller, "ada", "her key", caller.names["device of ada"])
    do("POST", "keys/upload", {"device_keys": hers.device_keys()}, "ada")
    wait_until(lambda: caller.names["ada"] in changed(), "the device of somebody in its room", 60)
    lists = [sent.body[LISTS] for sent in service.transactions if LISTS in sent.body]
    caller.compare("device lists", sorted({name for one in lists for name in one}))
    names = [set(sent.body) - {LISTS, *COUNTS} for sent in service.transactions]
    caller.compare("other keys", sorted(set.union(*names)))
    others = [set(sent.body) for sent in sides.of(caller)["irc"].transactions]
    caller.compare("of one that does not encrypt", sorted(set.union(set(), *others)))


def test_devices(sides: Sides) -> None:
    wrong = differences(lambda caller: devices(sides, caller), sides.synapse, sides.server, {})
    assert not wrong, "\n".join(wrong)
