"""Application services and their users, as on Synapse: accounts, names, devices, times, networks and pings."""

from collections.abc import Iterator

import pytest

from tests.interop.alike import CLIENT, Caller, differences
from tests.interop.app_services import TYPE, Asked, Sides, both_sides, ghosts

V1 = "/_matrix/client/v1"
HUMAN = {"auth": {"type": "m.login.dummy"}, "password": "secret"}
PROTOCOL = {
    "user_fields": ["nick"],
    "location_fields": ["channel"],
    "icon": "mxc://irc.test/icon",
    "field_types": {"nick": {"regexp": ".*", "placeholder": "nick"}},
    "instances": [{"desc": "A network", "network_id": "net", "fields": {"network": "net"}}],
}


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    with both_sides(tmp_path_factory.mktemp("sides")) as sides:
        yield sides


REGISTRATIONS = {
    "a name of nobody": {"username": "nobody"},
    "a user id": {"username": "@_irc_x:synapse.test"},
    "no name": {},
    "a number as name": {"username": 5},
    "capitals": {"username": "_irc_UP"},
    "other letters": {"username": "_irc_#é"},
    "a device": {"username": "_irc_device", "device_id": "PHONE", "initial_device_display_name": "Mine"},
    "a device that is not made": {"username": "_irc_nodevice", "device_id": "PHONE", "inhibit_login": True},
    "a refresh token": {"username": "_irc_refresh", "refresh_token": True},
    "a password": {"username": "_irc_password", "password": "secret"},
}


def registration(caller: Caller) -> None:
    """Whose names are whose; who registers and logs in how."""
    caller.register("ada")
    service = "as_irc"
    for label, body in REGISTRATIONS.items():
        caller.call(f"register {label}", "POST", "register", {"type": TYPE, **body}, service)
    caller.call("again", "POST", "register", {"type": TYPE, "username": "_irc_UP"}, service)
    new = {"username": "_irc_new"}
    caller.call("no type", "POST", "register", new, service)
    caller.call("another type", "POST", "register", {"type": "m.login.dummy", **new}, service)
    for by in (None, "as_nobody", "ada"):
        caller.call(f"by {by}", "POST", "register", {"type": TYPE, **new}, by)
    for name in ("kept_one", "ircbot", "shared_human", "_irc_new"):
        caller.call(f"a human as {name}", "POST", "register", {"username": name, **HUMAN})
        caller.call(f"is {name} free", "GET", f"register/available?username={name}_2")
    caller.call("a bot's name", "GET", "register/available?username=ircbot")
    caller.call("the bot", "POST", "register", {"type": TYPE, "username": "ircbot"}, service)
    caller.call("its profile", "GET", "profile/@ircbot:synapse.test")
    caller.call("a profile", "GET", "profile/@_irc_device:synapse.test")
    caller.call("flows", "GET", "login")
    for name, by in (
        ("_irc_device", service),
        ("@_irc_device:synapse.test", service),
        ("ircbot", service),
        ("_irc_nobody", service),
        ("shared_human", service),
        ("shared_human", "as_plain"),
        ("_irc_device", None),
        ("_irc_device", "ada"),
        ("_irc_device", "as_nobody"),
    ):
        body = {"type": TYPE, "identifier": {"type": "m.id.user", "user": name}}
        caller.call(f"log in {name} by {by}", "POST", "login", body, by)
    caller.call("log in nobody", "POST", "login", {"type": TYPE}, service)
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "_irc_password"}}
    caller.call("its password", "POST", "login", {**body, "password": "secret"})


REGISTRATION_DIFFERS = {
    "register a user id: .errcode": "a user id is no localpart, whoever it is of",
    "by None: status: 401": "who must have a token is told so",
    "log in _irc_nobody by as_irc: status: 403": "as of any other that is none of its users",
    "log in nobody: .errcode: 'M_MISSING_PARAM'": "it is missing",
}


def test_registration(sides: Sides) -> None:
    """Users of a service are its own to make; nobody else can have their names."""
    wrong = differences(registration, sides.synapse, sides.server, REGISTRATION_DIFFERS)
    assert not wrong, "\n".join(wrong)


SPEAKING = """
GET account/whoami
GET account/whoami?user_id={ghost}
GET account/whoami?user_id=@ircbot:synapse.test
GET account/whoami?user_id={ada}
GET account/whoami?user_id=@_irc_nobody:synapse.test
GET account/whoami?user_id=nonsense
GET account/whoami?user_id={ghost}&device_id=NONE
PUT devices/MADE?user_id={ghost} {"display_name": "Bridge"}
PUT devices/MADE?user_id={ghost} {"display_name": "Better"}
GET account/whoami?user_id={ghost}&device_id=MADE
GET devices?user_id={ghost}
POST logout?user_id={ghost} {}
DELETE devices/MADE?user_id={ghost} {}
DELETE devices/MADE?user_id={ghost}&again {}
PUT devices/OTHER?user_id={ghost} {}
POST delete_devices?user_id={ghost} {"devices": ["OTHER"]}
PUT devices/THIRD?user_id={ghost} {}
POST logout?user_id={ghost}&device_id=THIRD {}
PUT devices/FOURTH?user_id={ghost} {}
POST logout/all?user_id={ghost} {}
GET devices?user_id={ghost}&afterwards
POST keys/upload?user_id={ghost} {"one_time_keys": {}}
GET pushrules/?user_id={ghost}
GET joined_rooms?user_id={ghost}
PUT profile/{ghost}/displayname?user_id={ghost} {"displayname": "Ghost"}
GET profile/{ghost}?user_id={ghost}
PUT profile/{ada}/displayname?user_id={ghost} {"displayname": "Ada"}
GET /_synapse/admin/v2/users/{ghost}?user_id={ghost}
"""


def speaking(caller: Caller) -> None:
    """A service speaks for its users and their devices."""
    caller.register("ada")
    caller.register("root", admin=True)
    ghosts(caller, "ghost", "leaver")
    caller.each(SPEAKING, "as_irc")
    caller.call("no such token", "GET", "account/whoami?user_id={ghost}", by="as_nobody")
    caller.call("in the query", "GET", "account/whoami?access_token=as_irc&user_id={ghost}")
    caller.call("one without a URL", "GET", "account/whoami", by="as_silent")
    caller.call("a device of a human", "PUT", "devices/MADE", {"display_name": "x"}, "ada")
    admin = "/_synapse/admin/v2/users/{ghost}"
    shown = caller.call("seen by an admin", "GET", admin, by="root")
    assert shown["appservice_id"] == "irc"
    caller.call("named by an admin", "PUT", admin, {"displayname": "Named"}, "root")
    caller.call(
        "made by an admin", "PUT", "/_synapse/admin/v2/users/@kept_x:synapse.test", {"password": "x"}, "root"
    )
    caller.call("leaves", "POST", "account/deactivate?user_id={leaver}", {}, "as_irc")
    caller.call("is gone", "POST", "register", {"type": TYPE, "username": _local(caller, "leaver")}, "as_irc")


def _local(caller: Caller, name: str) -> str:
    return caller.names[name][1:].partition(":")[0]


SPEAKING_DIFFERS = {
    "PUT profile/{ada}/displayname?user_id={ghost} *: status: 403": "as of any other user",
    "GET pushrules/?user_id={ghost}: .global": "the predefined rules of the present specification only",
}


def test_speaking_for_users(sides: Sides) -> None:
    """It is asked for no password; whom it may not speak for it is told."""
    wrong = differences(speaking, sides.synapse, sides.server, SPEAKING_DIFFERS)
    assert not wrong, "\n".join(wrong)


def times(caller: Caller) -> None:
    """What a bridge brings from elsewhere has the time it was said there; humans cannot choose."""
    caller.register("ada")
    ghosts(caller, "ghost")
    room = caller.room("den", "ada", preset="public_chat")
    as_ghost = "user_id={ghost}"

    def at(label: str, method: str, path: str, body: object, by: str) -> None:
        answer = caller.call(label, method, path, body, by)
        if answer.status == 200 and "event_id" in answer.body:
            event = caller.ask("GET", f"rooms/{{den}}/event/{answer['event_id']}", by="ada")
            caller.compare(f"{label}: time", event["origin_server_ts"] < 10_000)

    caller.ask("POST", f"join/{{den}}?ts=5000&{as_ghost}", {}, "as_irc")
    for ts in ("1000", "0", "-5", "abc", "1.5", "99999999999999999999", ""):
        path = f"rooms/{{den}}/send/m.room.message/ts{ts}?ts={ts}&{as_ghost}"
        at(f"send at {ts}", "PUT", path, {"msgtype": "m.text", "body": "then"}, "as_irc")
    at("a human", "PUT", "rooms/{den}/send/m.room.message/a?ts=1000", {"body": "x"}, "ada")
    named = {"membership": "join", "displayname": "Then"}
    at("a state", "PUT", f"rooms/{{den}}/state/m.room.member/{{ghost}}?ts=1000&{as_ghost}", named, "as_irc")
    members = caller.ask("GET", "rooms/{den}/messages?dir=f&limit=50", by="ada")["chunk"]
    joins = [one for one in members if one.get("state_key") == caller.names["ghost"]]
    caller.compare("times of members", [one["origin_server_ts"] < 10_000 for one in joins])
    assert room


def test_times(sides: Sides) -> None:
    allowed = {"send at 99999999999999999999: .errcode": "the parameter is to blame"}
    wrong = differences(times, sides.synapse, sides.server, allowed)
    assert not wrong, "\n".join(wrong)


ALIASES = """
PUT directory/room/%23_irc_x:synapse.test {"room_id": "{den}"}
GET directory/room/%23_irc_x:synapse.test
PUT directory/room/%23other:synapse.test {"room_id": "{den}"}
PUT directory/room/%23shared_s:synapse.test {"room_id": "{den}"}
DELETE directory/room/%23shared_h:synapse.test
"""


def aliases(sides: Sides, caller: Caller) -> None:
    """Aliases are a service's own like users; one that it may know it is asked for."""
    caller.register("ada")
    caller.room("den", "ada", preset="public_chat", name="Den")
    own, shared = {"room_id": caller.names["den"]}, "directory/room/%23shared_h:synapse.test"
    caller.call("a human's", "PUT", "directory/room/%23_irc_x:synapse.test", own, "ada")
    caller.call("a human's room", "POST", "createRoom", {"room_alias_name": "_irc_y"}, "ada")
    caller.call("one of all", "PUT", shared, own, "ada")
    caller.each(ALIASES, "as_irc")
    caller.call("deleted by a human", "DELETE", "directory/room/%23_irc_x:synapse.test", None, "ada")
    caller.call("deleted", "DELETE", "directory/room/%23_irc_x:synapse.test", None, "as_irc")
    caller.call("shared, deleted", "DELETE", shared, None, "as_plain")
    network = "directory/list/appservice/irc/{den}"
    caller.call("by a human", "PUT", network, {"visibility": "public"}, "ada")
    caller.call("in its network", "PUT", network, {"visibility": "public"}, "as_irc")
    for label, wish in (
        ("all networks", {"include_all_networks": True}),
        ("this network", {"third_party_instance_id": "irc|irc"}),
        ("another", {"third_party_instance_id": "irc|other"}),
        ("none", {}),
    ):
        found = caller.ask("POST", "publicRooms", wish, "ada")
        shown = [one["room_id"] for one in found["chunk"] if one["room_id"] == caller.names["den"]]
        caller.compare(f"public rooms of {label}", shown)
    caller.call("hidden again", "PUT", network, {"visibility": "private"}, "as_irc")
    service = sides.of(caller)["irc"]

    def make(asked: Asked) -> tuple[int, object]:
        if asked.path.startswith("/_matrix/app/v1/rooms/#_irc_made"):
            path = "directory/room/%23_irc_made:synapse.test"
            assert caller.ask("PUT", path, own, "as_irc").status == 200
            return 200, {}
        return 404, {"errcode": "M_NOT_FOUND", "error": "no"}

    service.answer, before = make, len(service.asked)
    for alias in ("_irc_made", "_irc_none", "nobody"):
        path = f"directory/room/%23{alias}:synapse.test"
        caller.call(f"room of {alias}", "GET", path, by="ada")
    caller.call("joined", "POST", "join/%23_irc_none2:synapse.test", {}, "ada")
    caller.ask("POST", "rooms/{den}/invite", {"user_id": "@_irc_unknown:synapse.test"}, "ada")
    asked = [(one.method, one.path, one.query) for one in service.asked[before:] if one.txn_id is None]
    caller.compare(
        "it was asked", [list(one) for one in asked if "_irc_" in one[1] and "users" not in one[1]]
    )
    service.answer = _accept


def _accept(_asked: Asked) -> tuple[int, object]:
    return 200, {}


def test_aliases(sides: Sides) -> None:
    wrong = differences(lambda caller: aliases(sides, caller), sides.synapse, sides.server, {})
    assert not wrong, "\n".join(wrong)


THIRD_PARTIES = """
GET thirdparty/protocols
GET thirdparty/protocol/irc
GET thirdparty/protocol/none
GET thirdparty/user/irc?nick=x
GET thirdparty/user/none?nick=x
GET thirdparty/location/irc?channel=x
GET thirdparty/user?userid={ada}
GET thirdparty/location?alias=%23a:synapse.test
"""


def networks(sides: Sides, caller: Caller) -> None:
    """What is known of other networks is asked of the service; what it answers badly is left out."""
    caller.register("ada")
    service = sides.of(caller)["irc"]
    answers = {
        "/_matrix/app/v1/thirdparty/protocol/irc": PROTOCOL,
        "/_matrix/app/v1/thirdparty/user/irc": [
            {"userid": "@_irc_x:synapse.test", "protocol": "irc", "fields": {"nick": "x"}},
            {"bad": 1},
        ],
        "/_matrix/app/v1/thirdparty/location/irc": [
            {"alias": "#_irc_x:synapse.test", "protocol": "irc", "fields": {}},
            "bad",
        ],
    }
    service.answer = lambda asked: (200, answers.get(asked.path, {}))
    caller.each(THIRD_PARTIES, "ada")
    caller.call("without a token", "GET", "thirdparty/protocols")
    service.answer = lambda _asked: (500, {})
    caller.call("one that fails", "GET", "thirdparty/user/irc?nick=y", by="ada")
    service.answer = _accept


def test_networks(sides: Sides) -> None:
    allowed = {"GET thirdparty/user/none?nick=x: status: 404": "as of its rooms: nobody knows that network"}
    wrong = differences(lambda caller: networks(sides, caller), sides.synapse, sides.server, allowed)
    assert not wrong, "\n".join(wrong)


def pings(sides: Sides, caller: Caller) -> None:
    """A service asks whether it can be reached."""
    caller.register("ada")
    service, path = sides.of(caller)["irc"], f"{V1}/appservice/irc/ping"
    before = len(service.asked)
    for label, body in (("named", {"transaction_id": "meow"}), ("nameless", {})):
        answer = caller.ask("POST", path, body, "as_irc")
        caller.compare(label, [answer.status, [type(ms).__name__ for ms in answer.body.values()]])
    told = [one.body for one in service.asked[before:] if one.path == "/_matrix/app/v1/ping"]
    caller.compare("it was told", told)
    caller.call("another", "POST", f"{V1}/appservice/plain/ping", {}, "as_irc")
    caller.call("none", "POST", f"{V1}/appservice/none/ping", {}, "as_irc")
    caller.call("a human", "POST", path, {}, "ada")
    caller.call("nobody", "POST", path, {})
    caller.call("one without a URL", "POST", f"{V1}/appservice/silent/ping", {}, "as_silent")
    for status, text in ((500, '{"errcode": "M_X"}'), (404, "text"), (200, "text")):
        service.answer = lambda _asked, status=status, text=text: (status, text)
        caller.call(f"answered with {status}", "POST", path, {}, "as_irc")
    service.answer = _accept
    shown = caller.ask("GET", f"{CLIENT.removesuffix('/v3')}/versions")["unstable_features"]
    caller.compare("in the versions", shown.get("fi.mau.msc2659.stable"))


def test_pings(sides: Sides) -> None:
    allowed = {
        "it was told: [1].transaction_id: is not there": "there is none",
        "answered with 200: status: 200": "it can be reached; what it says beside is not looked at",
    }
    wrong = differences(lambda caller: pings(sides, caller), sides.synapse, sides.server, allowed)
    assert not wrong, "\n".join(wrong)
