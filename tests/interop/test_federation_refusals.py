"""What other servers are refused: the same requests to Synapse and to this server get the same status and `errcode`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from attrs import frozen

from synapse_lite.canonical_json import encode_exact
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.server_auth import sign_request
from synapse_lite.matrix.signing import SigningKey, generate_signing_key
from tests.interop.peer import Peer, running
from tests.interop.test_federation import Client, Pair, clients, federating_synapse
from tests.processes.conftest import BuildSite, build_site
from tests.processes.neighbours import Neighbours

__all__ = ["build_site"]

V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
NOBODY = "localhost:1"
Body = Any


@frozen
class Endpoint:
    """`path` names things in braces; `body` is one that is good as far as it goes."""

    method: str
    path: str
    body: Body = None

    @property
    def has_room(self) -> bool:
        return "{room}" in self.path

    def __str__(self) -> str:
        return f"{self.method} {self.path.removeprefix('/_matrix/')}"


ENDPOINTS = (
    Endpoint("PUT", f"{V1}/send/{{number}}", {"origin": "{peer}", "origin_server_ts": 1, "pdus": []}),
    Endpoint("GET", f"{V1}/event/{{event}}"),
    Endpoint("GET", f"{V1}/state/{{room}}?event_id={{event}}"),
    Endpoint("GET", f"{V1}/state_ids/{{room}}?event_id={{event}}"),
    Endpoint("GET", f"{V1}/event_auth/{{room}}/{{event}}"),
    Endpoint("GET", f"{V1}/backfill/{{room}}?v={{event}}&limit=10"),
    Endpoint(
        "POST",
        f"{V1}/get_missing_events/{{room}}",
        {"earliest_events": [], "latest_events": ["{event}"], "limit": 10},
    ),
    Endpoint("GET", f"{V1}/timestamp_to_event/{{room}}?ts=1&dir=f"),
    Endpoint("GET", f"{V1}/hierarchy/{{room}}"),
    Endpoint("GET", f"{V1}/publicRooms"),
    Endpoint("POST", f"{V1}/publicRooms", {"limit": 1}),
    Endpoint("GET", f"{V1}/query/profile?user_id={{user}}&field=displayname"),
    Endpoint("GET", f"{V1}/query/directory?room_alias={{alias}}"),
    Endpoint("GET", f"{V1}/query/whatever"),
    Endpoint("GET", f"{V1}/user/devices/{{user}}"),
    Endpoint("POST", f"{V1}/user/keys/query", {"device_keys": {"{user}": []}}),
    Endpoint("POST", f"{V1}/user/keys/claim", {"one_time_keys": {"{user}": {"X": "signed_curve25519"}}}),
    Endpoint("GET", f"{V1}/make_join/{{room}}/{{carol}}?ver=10"),
    Endpoint("PUT", f"{V1}/send_join/{{room}}/{{event}}", {}),
    Endpoint("PUT", f"{V2}/send_join/{{room}}/{{event}}", {}),
    Endpoint("GET", f"{V1}/make_leave/{{room}}/{{carol}}"),
    Endpoint("PUT", f"{V1}/send_leave/{{room}}/{{event}}", {}),
    Endpoint("PUT", f"{V2}/send_leave/{{room}}/{{event}}", {}),
    Endpoint("GET", f"{V1}/make_knock/{{room}}/{{carol}}?ver=10"),
    Endpoint("PUT", f"{V1}/send_knock/{{room}}/{{event}}", {}),
    Endpoint("PUT", f"{V1}/invite/{{room}}/{{event}}", {}),
    Endpoint("PUT", f"{V2}/invite/{{room}}/{{event}}", {"event": {}, "room_version": "10"}),
    Endpoint("PUT", f"{V1}/exchange_third_party_invite/{{room}}", {}),
    Endpoint("GET", f"{V1}/media/download/unknown"),
    Endpoint("GET", f"{V1}/media/thumbnail/unknown?width=32&height=32&method=scale"),
)
OPEN = (
    Endpoint("GET", f"{V1}/version"),
    Endpoint("GET", f"{V1}/openid/userinfo?access_token=wrong"),
    Endpoint("GET", f"{V1}/openid/userinfo"),
    Endpoint("PUT", f"{V1}/3pid/onbind", {}),
    Endpoint("PUT", f"{V1}/3pid/onbind", {"mxid": "@a:b", "medium": "email", "address": "a@b.test"}),
    Endpoint("GET", "/_matrix/key/v2/server/whatever"),
    Endpoint("GET", f"/_matrix/key/v2/query/{quote(NOBODY)}"),
    Endpoint("POST", "/_matrix/key/v2/query", {"server_keys": {NOBODY: {}}}),
    Endpoint("POST", "/_matrix/key/v2/query", {}),
    Endpoint("GET", f"{V1}/unknown"),
    Endpoint("DELETE", f"{V1}/version"),
)
MORE = {
    "profile without a user": Endpoint("GET", f"{V1}/query/profile"),
    "profile of nobody": Endpoint("GET", f"{V1}/query/profile?user_id={{nobody}}"),
    "profile of a user of others": Endpoint("GET", f"{V1}/query/profile?user_id={{carol}}"),
    "profile of no user id": Endpoint("GET", f"{V1}/query/profile?user_id=x"),
    "a strange field of a profile": Endpoint("GET", f"{V1}/query/profile?user_id={{user}}&field=x"),
    "directory without an alias": Endpoint("GET", f"{V1}/query/directory"),
    "no alias": Endpoint("GET", f"{V1}/query/directory?room_alias=x"),
    "an alias of others": Endpoint("GET", f"{V1}/query/directory?room_alias=%23x%3Aother.test"),
    "devices of nobody": Endpoint("GET", f"{V1}/user/devices/{{nobody}}"),
    "devices of a user of others": Endpoint("GET", f"{V1}/user/devices/{{carol}}"),
    "keys of a user of others": Endpoint("POST", f"{V1}/user/keys/query", {"device_keys": {"{carol}": []}}),
    "keys without users": Endpoint("POST", f"{V1}/user/keys/query", {}),
    "keys of a list": Endpoint("POST", f"{V1}/user/keys/query", {"device_keys": []}),
    "claims without users": Endpoint("POST", f"{V1}/user/keys/claim", {}),
    "claims of a list": Endpoint("POST", f"{V1}/user/keys/claim", {"one_time_keys": []}),
    "a join for others": Endpoint("GET", f"{V1}/make_join/{{room}}/{{user}}?ver=10"),
    "a join without a version": Endpoint("GET", f"{V1}/make_join/{{open}}/{{carol}}"),
    "a join with another version": Endpoint("GET", f"{V1}/make_join/{{open}}/{{carol}}?ver=1"),
    "a join of no user id": Endpoint("GET", f"{V1}/make_join/{{open}}/x?ver=10"),
    "a leave for others": Endpoint("GET", f"{V1}/make_leave/{{open}}/{{user}}"),
    "a leave of who is not there": Endpoint("GET", f"{V1}/make_leave/{{open}}/{{carol}}"),
    "a knock on an open room": Endpoint("GET", f"{V1}/make_knock/{{open}}/{{carol}}?ver=10"),
    "a knock for others": Endpoint("GET", f"{V1}/make_knock/{{open}}/{{user}}?ver=10"),
    "timestamp without a time": Endpoint("GET", f"{V1}/timestamp_to_event/{{shared}}?dir=f"),
    "timestamp without a direction": Endpoint("GET", f"{V1}/timestamp_to_event/{{shared}}?ts=1"),
    "timestamp in no direction": Endpoint("GET", f"{V1}/timestamp_to_event/{{shared}}?ts=1&dir=x"),
    "timestamp of the future": Endpoint("GET", f"{V1}/timestamp_to_event/{{shared}}?ts=99999999999999&dir=f"),
    "backfill without a limit": Endpoint("GET", f"{V1}/backfill/{{shared}}?v={{shared event}}"),
    "backfill without events": Endpoint("GET", f"{V1}/backfill/{{shared}}?limit=10"),
    "backfill of no number": Endpoint("GET", f"{V1}/backfill/{{shared}}?v={{shared event}}&limit=x"),
    "backfill of a negative number": Endpoint("GET", f"{V1}/backfill/{{shared}}?v={{shared event}}&limit=-1"),
    "backfill from the unknown": Endpoint("GET", f"{V1}/backfill/{{shared}}?v=$unknown&limit=10"),
    "backfill from elsewhere": Endpoint("GET", f"{V1}/backfill/{{shared}}?v={{event}}&limit=10"),
    "an unknown event": Endpoint("GET", f"{V1}/event/$unknown"),
    "an event that is no id": Endpoint("GET", f"{V1}/event/x"),
    "state without an event": Endpoint("GET", f"{V1}/state/{{shared}}"),
    "state at the unknown": Endpoint("GET", f"{V1}/state/{{shared}}?event_id=$unknown"),
    "state at what is elsewhere": Endpoint("GET", f"{V1}/state/{{shared}}?event_id={{event}}"),
    "state ids without an event": Endpoint("GET", f"{V1}/state_ids/{{shared}}"),
    "state ids at the unknown": Endpoint("GET", f"{V1}/state_ids/{{shared}}?event_id=$unknown"),
    "auth of the unknown": Endpoint("GET", f"{V1}/event_auth/{{shared}}/$unknown"),
    "auth of what is elsewhere": Endpoint("GET", f"{V1}/event_auth/{{shared}}/{{event}}"),
    "missing events without any": Endpoint("POST", f"{V1}/get_missing_events/{{shared}}", {}),
    "missing events of a text": Endpoint(
        "POST", f"{V1}/get_missing_events/{{shared}}", {"latest_events": "x"}
    ),
    "missing events of the unknown": Endpoint(
        "POST",
        f"{V1}/get_missing_events/{{shared}}",
        {"earliest_events": [], "latest_events": ["$unknown"], "limit": 10},
    ),
    "public rooms of a negative number": Endpoint("GET", f"{V1}/publicRooms?limit=-1"),
    "public rooms of no number": Endpoint("GET", f"{V1}/publicRooms?limit=x"),
    "public rooms since nowhere": Endpoint("GET", f"{V1}/publicRooms?since=nowhere"),
    "public rooms by a filter that is a list": Endpoint("POST", f"{V1}/publicRooms", {"filter": []}),
    "hierarchy by a wrong word": Endpoint("GET", f"{V1}/hierarchy/{{open}}?suggested_only=x"),
    "send without events": Endpoint(
        "PUT", f"{V1}/send/{{number}}", {"origin": "{peer}", "origin_server_ts": 1}
    ),
    "send of a text": Endpoint(
        "PUT", f"{V1}/send/{{number}}", {"origin": "{peer}", "origin_server_ts": 1, "pdus": "x"}
    ),
    "send of strange events": Endpoint(
        "PUT", f"{V1}/send/{{number}}", {"origin": "{peer}", "origin_server_ts": 1, "pdus": [1, [], {}, "x"]}
    ),
    "send of too many events": Endpoint(
        "PUT", f"{V1}/send/{{number}}", {"origin": "{peer}", "origin_server_ts": 1, "pdus": [{}] * 51}
    ),
    "send of too many EDUs": Endpoint(
        "PUT",
        f"{V1}/send/{{number}}",
        {"origin": "{peer}", "origin_server_ts": 1, "pdus": [], "edus": [{}] * 101},
    ),
    "send of strange EDUs": Endpoint(
        "PUT",
        f"{V1}/send/{{number}}",
        {"origin": "{peer}", "origin_server_ts": 1, "pdus": [], "edus": [{"edu_type": "x", "content": {}}]},
    ),
    "send without a time": Endpoint("PUT", f"{V1}/send/{{number}}", {"origin": "{peer}", "pdus": []}),
    "send of another": Endpoint(
        "PUT", f"{V1}/send/{{number}}", {"origin": "other.test", "origin_server_ts": 1, "pdus": []}
    ),
    "an invite without a version": Endpoint("PUT", f"{V2}/invite/{{room}}/{{event}}", {"event": {}}),
    "an invite of an unknown version": Endpoint(
        "PUT", f"{V2}/invite/{{room}}/{{event}}", {"event": {}, "room_version": "x"}
    ),
    "a strange size": Endpoint("GET", f"{V1}/media/thumbnail/unknown?width=x&height=1"),
}


REFUSED, FAULT = 400, 500
SENSELESS = {"M_BAD_JSON", "M_MISSING_PARAM", "M_INVALID_PARAM", "M_NOT_JSON"}
_THE_ROOM_FIRST = (
    "Of a room that is not here nothing can be sent, whatever it is: 404, as the specification has it"
)
_OF_OTHERS = "Of whom, or of what, is not ours we know nothing: 404"
_REQUIRED = "The specification requires what lacks, or is no list of ids"
ALLOWED = {
    **{
        f"PUT federation/{name}/{{room}}/{{event}}, of {which} room": _THE_ROOM_FIRST
        for name in ("v1/send_join", "v2/send_join", "v1/send_leave", "v2/send_leave", "v1/send_knock")
        for which in ("an unknown", "no")
    },
    "POST federation/v1/get_missing_events/{room}, with an empty object": _REQUIRED,
    "POST federation/v1/user/keys/query, with an empty object": _REQUIRED,
    "POST federation/v1/user/keys/claim, with an empty object": _REQUIRED,
    "keys without users": _REQUIRED,
    "claims without users": _REQUIRED,
    "missing events without any": _REQUIRED,
    "missing events of a text": _REQUIRED,
    "POST federation/v1/publicRooms, with nothing": "Whether the list is for others is asked first",
    "GET federation/v1/query/whatever, signed": "An unknown type of query: M_UNRECOGNIZED, as for all that is unknown",
    "PUT federation/v1/3pid/onbind": "Synapse does not serve it",
    "profile of a user of others": _OF_OTHERS,
    "an alias of others": _OF_OTHERS,
    "devices of a user of others": _OF_OTHERS,
    "devices of nobody": "There is no such user",
    "keys of a user of others": "They are left out, as those of unknown users",
    "a join of no user id": "It is no user of who asks",
    "send of another": "Who says that it is another server is not believed",
    "an invite of an unknown version": "M_INCOMPATIBLE_ROOM_VERSION is what the specification has",
}
"""Differences, by the beginnings of their labels, and why."""


@frozen
class Asker:
    """The peer, before one of the servers; `names` is what the paths name."""

    peer: Peer
    server: str
    names: Mapping[str, str]
    answers: dict[str, tuple[int, str | None]]

    def ask(
        self, label: str, endpoint: Endpoint, *, data: bytes | None = None, key: SigningKey | None = None,
        destination: str | None = None, is_signed: bool = True, **names: str,
    ) -> None:  # fmt: skip
        """`data` is sent instead of the body, `names` count before others."""
        known = {**self.names, "number": str(len(self.answers)), **names}
        path = endpoint.path
        for name, text in known.items():
            path = path.replace(f"{{{name}}}", quote(text, safe=""))
        if data is None and endpoint.body is not None:
            data = encode_exact(_named(endpoint.body, known))
        signed = None if data is None else _read(data)
        authorization = sign_request(
            key or self.peer.key, endpoint.method, path, destination or self.server,
            None if signed is None else encode_exact(signed),
        )  # fmt: skip
        answer = self.peer.send(
            self.server, endpoint.method, path, data, authorization if is_signed else None
        )
        try:
            content = answer.json()
        except ValueError:
            content = None
        errcode = content.get("errcode") if isinstance(content, dict) else None
        assert label not in self.answers, label
        self.answers[label] = answer.status_code, errcode


def _named(body: Body, names: Mapping[str, str]) -> Body:
    text = json.dumps(body)
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return json.loads(text)


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


@pytest.fixture
def askers(build_site: BuildSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Asker]]:
    """Before Synapse, and before this server."""
    neighbours = Neighbours.in_directory(tmp_path_factory.mktemp("neighbours"))
    limits = {"rc_federation": {"sleep_limit": 10_000, "reject_limit": 10_000}}
    ours, our_name = neighbours.site(build_site, "main", **limits)
    ours.start("main")
    peer = Peer(neighbours, ROOM_VERSIONS["10"])
    with (
        federating_synapse(neighbours, tmp_path_factory.mktemp("synapse"), **limits) as synapse,
        running(peer),
    ):
        our, their = clients(Pair(neighbours, ours, our_name, synapse), "alice")
        yield [
            Asker(peer, name, _names(peer, name, client), {})
            for name, client in ((synapse.server_name, their), (our_name, our))
        ]


def _names(peer: Peer, server: str, client: Client) -> dict[str, str]:
    """Rooms that the peer is not in, `room` (closed) and `open`, and `shared`, in which its carol is; and what is in them."""
    rooms = {
        name: client.ask("POST", "createRoom", {"room_version": "10", "preset": preset})["room_id"]
        for name, preset in (("room", "private_chat"), ("open", "public_chat"), ("shared", "public_chat"))
    }
    events = {}
    for name in ("room", "shared"):
        path = f"rooms/{quote(rooms[name])}/send/m.room.message/1"
        events[name] = client.ask("PUT", path, {"msgtype": "m.text", "body": "hi"})["event_id"]
    peer.join(server, rooms["shared"], f"@carol:{peer.name}")
    return {
        **rooms,
        "event": events["room"],
        "shared event": events["shared"],
        "user": client.user_id,
        "nobody": f"@nobody:{server}",
        "carol": f"@carol:{peer.name}",
        "alias": f"#nothing:{server}",
        "peer": peer.name,
    }


def test_refusals(askers: list[Asker]) -> None:
    """Nobody's requests, those of others, and what makes no sense; of rooms that are not known, or closed to who asks."""
    for asker in askers:
        _ask_all(asker)
    theirs, ours = (asker.answers for asker in askers)
    found = {
        label: f"{ours[label]}, not {answer}"
        for label, answer in theirs.items()
        if _differ(answer, ours[label])
    }
    assert {label: text for label, text in found.items() if not label.startswith(tuple(ALLOWED))} == {}
    assert [label for label in ALLOWED if not any(one.startswith(label) for one in found)] == []


def _differ(theirs: tuple[int, str | None], ours: tuple[int, str | None]) -> bool:
    """Where Synapse has a fault of its own, or says nothing in particular, ours has to refuse; senseless is senseless."""
    if theirs[0] >= FAULT:
        return ours[0] >= FAULT
    if theirs[1] in (None, "M_UNKNOWN") and theirs[0] >= REFUSED:
        return theirs[0] != ours[0]
    return theirs != ours and not (theirs[0] == ours[0] and {theirs[1], ours[1]} <= SENSELESS)


def _ask_all(asker: Asker) -> None:
    stranger = generate_signing_key(asker.peer.name)
    for endpoint in ENDPOINTS:
        asker.ask(f"{endpoint}, unsigned", endpoint, is_signed=False)
        asker.ask(f"{endpoint}, signed", endpoint)
        if endpoint.has_room:
            asker.ask(f"{endpoint}, of an unknown room", endpoint, room="!unknown:other.test")
            asker.ask(f"{endpoint}, of no room", endpoint, room="x")
            asker.ask(f"{endpoint}, of an open room", endpoint, room=asker.names["open"])
        if endpoint.body is not None:
            for name, data in (
                ("no JSON", b"x"),
                ("a list", b"[]"),
                ("an empty object", b"{}"),
                ("nothing", b""),
            ):
                asker.ask(f"{endpoint}, with {name}", endpoint, data=data)
    for endpoint in ENDPOINTS[:3]:
        asker.ask(f"{endpoint}, by an unknown key", endpoint, key=stranger)
        same_id = SigningKey(asker.peer.name, asker.peer.key.version, stranger.key)
        asker.ask(f"{endpoint}, by a wrong key", endpoint, key=same_id)
        asker.ask(f"{endpoint}, for another server", endpoint, destination="other.test")
        asker.ask(f"{endpoint}, by nobody", endpoint, key=generate_signing_key(NOBODY))
    for endpoint in OPEN:
        asker.ask(f"{endpoint} {endpoint.body}", endpoint, is_signed=False)
    for label, endpoint in MORE.items():
        asker.ask(label, endpoint)
