"""Presence, the user directory and guests, as on Synapse."""

from typing import Any

from attrs import evolve

from tests.interop.alike import Caller, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server, wait_until

PRESENCE = """
GET presence/{alice}/status
GET presence/{bob}/status
GET presence/{carl}/status
GET presence/@nobody:synapse.test/status
GET presence/@nobody:elsewhere.test/status
GET presence/alice/status
PUT presence/{alice}/status {}
PUT presence/{alice}/status []
PUT presence/{alice}/status {"presence": 5}
PUT presence/{alice}/status {"presence": "x"}
PUT presence/{alice}/status {"presence": "busy"}
PUT presence/{alice}/status {"presence": "unavailable", "status_msg": 5}
PUT presence/{alice}/status {"presence": "unavailable", "status_msg": null}
PUT presence/{alice}/status {"presence": "unavailable", "status_msg": "away"}
GET presence/{alice}/status?away
PUT presence/{alice}/status {"presence": "unavailable"}
GET presence/{alice}/status?without
PUT presence/{alice}/status {"presence": "offline", "status_msg": "gone"}
GET presence/{alice}/status?gone
PUT presence/{alice}/status {"presence": "online", "status_msg": ""}
GET presence/{alice}/status?back
PUT presence/{bob}/status {"presence": "online"}
PUT presence/@nobody:elsewhere.test/status {"presence": "online"}
GET presence/list/{alice}
"""


def presence(caller: Caller) -> None:
    """Bob shares a room with her, Carl none."""
    caller.register("alice", "bob", "carl")
    caller.room("den", "alice", preset="public_chat")
    caller.ask("POST", "rooms/{den}/join", {}, "bob")
    caller.each(PRESENCE, "alice")
    for by in ("bob", "carl", None):
        caller.call(f"alice, by {by}", "GET", "presence/{alice}/status", by=by)


def directory(caller: Caller) -> None:
    """Who is found, by which words, and by whom."""
    caller.register("alice", "bob", "carl", "dora")
    word = caller.unique("zq")
    for name in ("alice", "bob", "carl", "dora"):
        shown = {"displayname": f"{word} {name.title()} Ümlaut"}
        caller.ask("PUT", f"profile/{{{name}}}/displayname", shown, name)
    caller.room("hall", "alice", preset="public_chat")
    caller.room("den", "alice", invite=[caller.names["carl"]])
    caller.ask("POST", "rooms/{hall}/join", {}, "bob")
    caller.ask("POST", "rooms/{den}/join", {}, "carl")
    wait_until(lambda: len(found(caller, {"search_term": word})) == 3, "all three are in the directory")
    searches: dict[str, Any] = {
        "a word": {"search_term": word},
        "its beginning": {"search_term": word[:8]},
        "two words": {"search_term": f"bob {word}"},
        "capitals": {"search_term": word.upper()},
        "an id": {"search_term": caller.names["bob"]},
        "a localpart": {"search_term": caller.names["unique bob"]},
        "nobody": {"search_term": "nobody at all"},
        "a number": {"search_term": 5},
        "null": {"search_term": None},
        "no term": {},
        "no object": [],
        "odd letters": {"search_term": "%_':*&|!()<>\\"},
        "a large limit": {"search_term": word, "limit": 10**6},
        "a limit in words": {"search_term": word, "limit": "x"},
    }
    for label, body in searches.items():
        answer = caller.call(label, "POST", "user_directory/search", body, "alice")
        if answer.status == 200:
            ordered = sorted(answer["results"], key=lambda one: one["user_id"])
            caller.answers[label] = evolve(answer, body={**answer.body, "results": ordered})
    caller.call("without a token", "POST", "user_directory/search", {"search_term": word})
    caller.call("without a body", "POST", "user_directory/search", by="alice")
    caller.call("GET", "GET", "user_directory/search", by="alice")


def found(caller: Caller, body: Any) -> list[Any]:
    return list(caller.ask("POST", "user_directory/search", body, "alice")["results"])


GUEST = """
GET profile/{alice}
PUT profile/{guest}/displayname {"displayname": "G"}
POST createRoom {}
POST rooms/{open}/join {}
GET rooms/{open}/state/m.room.create
PUT rooms/{open}/send/m.room.message/t {"msgtype": "m.text", "body": "x"}
PUT rooms/{open}/state/m.room.topic {"topic": "x"}
PUT rooms/{open}/typing/{guest} {"typing": false}
GET joined_rooms
POST keys/upload {}
POST keys/query {"device_keys": {}}
POST keys/claim {"one_time_keys": {}}
PUT sendToDevice/m.x/1 {"messages": {}}
GET pushers
GET notifications
GET publicRooms
GET account/3pid
POST account/password {"new_password": "x"}
POST account/deactivate {}
POST user/{guest}/openid/request_token {}
POST rooms/{open}/upgrade {"new_version": "10"}
GET room_keys/version
POST /_matrix/media/v3/upload {}
POST rooms/{open}/leave {}
"""


def guests(caller: Caller) -> None:
    """What they may, and what not."""
    caller.register("alice")
    access = {
        "type": "m.room.guest_access",
        "state_key": "",
        "content": {"guest_access": "can_join"},
    }
    caller.room("open", "alice", preset="public_chat", initial_state=[access])
    made = caller.ask("POST", "register?kind=guest", {})
    caller.tokens["guest"], caller.names["guest"] = made["access_token"], made["user_id"]
    caller.each(GUEST, "guest")


PRESENCE_ALLOWED = {
    'PUT presence/{alice}/status {"presence": "unavailable", "status_msg": null}': "null is no message",
}
DIRECTORY_ALLOWED = {"*.avatar_url: is not there: None": "what is not there is left out"}
GUESTS_ALLOWED: dict[str, str] = {}


def test_presence(synapse: Synapse, server: Server) -> None:
    """Set, read and refused."""
    wrong = differences(presence, synapse, server, PRESENCE_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_directory(synapse: Synapse, server: Server) -> None:
    """Found, and in which form."""
    wrong = differences(directory, synapse, server, DIRECTORY_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_guests(synapse: Synapse, server: Server) -> None:
    """The same is refused."""
    wrong = differences(guests, synapse, server, GUESTS_ALLOWED)
    assert not wrong, "\n".join(wrong)
