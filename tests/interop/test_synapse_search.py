"""The same requests to Synapse and to this server: what is found in messages."""

from typing import Any

from tests.interop.alike import Caller, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server, wait_until

AROUND = {"before_limit": 1, "after_limit": 1}
BODIES = {"order_by": "recent", "keys": ["content.body"]}


def search(caller: Caller) -> None:
    """What is found, by whom, and with what around it."""
    word = _say(caller)
    den, bob = caller.names["den"], caller.names["bob"]
    found = {"search_term": word, **BODIES}
    for label, criteria in {
        "everything": {"search_term": word, "order_by": "recent"},
        "bodies": found,
        "names": {**found, "keys": ["content.name"]},
        "topics": {**found, "keys": ["content.topic"]},
        "a room": {**found, "filter": {"rooms": [den]}},
        "no rooms": {**found, "filter": {"rooms": []}},
        "a room of others": {**found, "filter": {"rooms": ["!no:synapse.test"]}},
        "a sender": {**found, "filter": {"senders": [bob]}},
        "no senders": {**found, "filter": {"senders": []}},
        "types": {**found, "filter": {"types": ["m.room.name"]}},
        "around": {**found, "event_context": AROUND},
        "around by default": {**found, "event_context": {}},
        "profiles": {**found, "event_context": {**AROUND, "include_profile": True}},
        "groups": {**found, "groupings": {"group_by": [{"key": "room_id"}, {"key": "sender"}]}},
        "groups of nothing": {**found, "groupings": {}},
        "groups by x": {**found, "groupings": {"group_by": [{"key": "x"}]}},
        "order x": {**found, "order_by": "x"},
        "no term": BODIES,
        "a number": {**BODIES, "search_term": 5},
        "nothing": {**BODIES, "search_term": ""},
        "spaces": {**BODIES, "search_term": "   "},
        "another word": {**BODIES, "search_term": f"{word} nobody"},
        "capitals": {**found, "search_term": word.upper()},
        "two words": {**found, "search_term": f"{word} two"},
    }.items():
        _ask(caller, label, criteria)
    for by in ("bob", "cy", None):
        _ask(caller, f"by {by}", found, by)
    caller.call("an empty token", "POST", "search?next_batch=", _body(found), "ada")
    caller.call("a bad token", "POST", "search?next_batch=x", _body(found), "ada")
    caller.call("no categories", "POST", "search", {}, "ada")
    _page_through(caller, found)


def _say(caller: Caller) -> str:
    """The word that is in four messages, a name and a topic, when all of them can be found."""
    caller.register("ada", "bob", "cy")
    word = caller.unique("word").replace("-", "")
    caller.names["the word"] = word
    caller.room("den", "ada", preset="public_chat", name=f"{word} den", topic=f"{word} topic")
    caller.room("lair", "ada", name="lair")
    caller.ask("POST", "join/{den}", {}, "bob")
    for name, room, by, text in (
        ("first", "den", "ada", "nothing"),
        ("one", "den", "ada", f"{word} one"),
        ("two", "den", "bob", f"two {word}"),
        ("three", "lair", "ada", f"{word} in the lair"),
        ("gone", "den", "ada", f"{word} gone"),
        ("four", "den", "bob", f"Straße {word} four"),
        ("last", "den", "ada", "nothing more"),
    ):
        caller.send(name, room, by, {"msgtype": "m.text", "body": text})
    caller.ask("PUT", "rooms/{den}/redact/{gone}/1", {}, "ada")
    everything = _body({"search_term": word})
    wait_until(
        lambda: len(_results(caller.ask("POST", "search", everything, "ada").body)) == 6, "all is found"
    )
    return word


def _page_through(caller: Caller, found: dict[str, Any]) -> None:
    ids: list[str] = []
    start = ""
    while len(ids) < 4:
        answer = caller.ask(
            "POST", f"search?next_batch={start}", _body({**found, "filter": {"limit": 2}}), "ada"
        )
        ids += [caller.plain(one["result"]["event_id"]) for one in _results(answer.body)]
        start = answer["search_categories"]["room_events"].get("next_batch", "")
        assert start or len(ids) == 4
    caller.compare("pages", ids)


def _ask(caller: Caller, label: str, criteria: dict[str, Any], by: str | None = "ada") -> None:
    caller.call(label, "POST", "search", _body(criteria), by)


def _body(criteria: dict[str, Any]) -> dict[str, Any]:
    return {"search_categories": {"room_events": criteria}}


def _results(body: Any) -> list[Any]:
    return list(body["search_categories"]["room_events"]["results"])


ALLOWED = {
    "*.rank: ": "each server has its own measure",
    "*.context: is not there: {}": "what was not asked for is left out",
    "*.avatar_url: is not there: None": "what is not there is left out",
    "*.count: ": "Synapse counts what is redacted",
    "capitals: .search_categories.room_events.highlights": "in the case in which they are compared",
    "by cy: .search_categories.room_events.highlights": "Synapse names none where there are no rooms",
    "no rooms: .search_categories.room_events.highlights": "as by cy",
    "a room of others: status": "in a room that one is not in nothing is found",
    "*.redacted_because.unsigned: is not there": "the specification has the age of the redacted event only",
    "*.unsigned.redacted_by: is not there": "is not in the specification; the id is in `redacted_because`",
}


def test_search(synapse: Synapse, server: Server) -> None:
    """The same is found."""
    wrong = differences(search, synapse, server, ALLOWED)
    assert not wrong, "\n".join(wrong)
