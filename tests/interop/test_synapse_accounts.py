"""Registration, log-in, sessions, passwords and devices: as Synapse answers."""

import secrets
from collections.abc import Mapping
from typing import Any

import pytest

from tests.interop.alike import Caller, Scenario, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server, wait_until

PASSWORD = "m.login.password"
DUMMY = {"type": "m.login.dummy"}


def named(user: Any, **more: Any) -> dict[str, Any]:
    """A log-in, and a proof of who one is."""
    identifier = {"type": "m.id.user", "user": user}
    return {"type": PASSWORD, "identifier": identifier, "password": "secret", **more}


def log_in(caller: Caller, name: str, device_id: str, **more: Any) -> None:
    """`by` can name the device from now on."""
    body = named(caller.names[name], device_id=device_id, **more)
    caller.tokens[device_id] = caller.call(f"{device_id} of {name}", "POST", "login", body)["access_token"]


def registration(caller: Caller) -> None:
    """Names and passwords, good and bad; the session of a registration."""
    bodies: Mapping[str, Any] = {
        "nothing": None,
        "an empty body": b"",
        "no JSON": b"{",
        "a list": [],
        "bad UTF-8": b'{"username":"\xff"}',
        "no fields": {},
        "an unknown stage": {"auth": {"type": "m.login.foo"}},
        "a stage of others": {"auth": {"type": PASSWORD, "password": "x"}},
        "an unknown session": {"auth": {"session": "nope", **DUMMY}},
        "auth that is text": {"auth": "x"},
        "a number as name": {"username": 5, "password": "secret"},
        "a space": {"username": "a b", "password": "secret"},
        "no ASCII": {"username": "é", "password": "secret"},
        "an empty name": {"username": "", "password": "secret"},
        "a NUL": {"username": "a\0b", "password": "secret"},
        "an underscore": {"username": "_x", "password": "secret"},
        "digits": {"username": "12345", "password": "secret"},
        "a user id": {"username": "@q:synapse.test", "password": "secret"},
        "a long name": {"username": "x" * 300, "password": "secret"},
        "a number as password": {"username": caller.unique("a"), "password": 5},
        "a long password": {"username": caller.unique("a"), "password": "x" * 600},
        "no password": {"username": caller.unique("a"), "auth": DUMMY},
        "null as password": {"username": caller.unique("a"), "password": None},
        "a number as device": {
            "username": caller.unique("b"),
            "password": "secret",
            "auth": DUMMY,
            "device_id": 5,
        },
        "refresh_token that is text": {"username": caller.unique("c"), "refresh_token": "yes", "auth": DUMMY},
    }
    for label, body in bodies.items():
        caller.call(label, "POST", "register", body)
    good = {"username": caller.unique("ada"), "password": "secret"}
    begun = caller.call("a session", "POST", "register", good)
    proved = {**good, "auth": {"session": begun["session"], **DUMMY}}
    made = caller.call("a user", "POST", "register", proved)
    caller.names["ada"] = made["user_id"]
    for label, more in {
        "again": {},
        "again in the session alone": {"auth": {"session": begun["session"]}},
        "again by another name": {"username": caller.unique("other")},
        "again with another password": {"password": "other"},
        "again without a device": {"inhibit_login": True},
    }.items():
        caller.call(label, "POST", "register", {**proved, **more})
    unproved = caller.call("no password yet", "POST", "register", {"username": caller.unique("d")})
    late = {"username": caller.unique("d"), "auth": {"session": unproved["session"], **DUMMY}}
    caller.call("still no password", "POST", "register", late)
    made = caller.call("a password at last", "POST", "register", {**late, "password": "secret"})
    caller.names["late"] = made["user_id"]
    caller.call("a name that is taken", "POST", "register", good)
    caller.call("taken in capitals", "POST", "register", {**good, "username": good["username"].upper()})
    for label, more in {
        "capitals": {"username": caller.unique("BOB"), "inhibit_login": True},
        "a refresh token": {"username": caller.unique("carl"), "refresh_token": True, "device_id": "D"},
        "no name": {"inhibit_login": True},
    }.items():
        caller.names[label] = caller.call(
            label, "POST", "register", {"password": "secret", "auth": DUMMY, **more}
        )["user_id"]
    for label, name in {
        "nothing": "",
        "is taken": good["username"],
        "is taken in capitals": good["username"].upper(),
        "is free": caller.unique("free"),
        "a space": "a%20b",
        "digits": "123",
        "bad UTF-8": "%FF",
    }.items():
        caller.call(f"available: {label}", "GET", f"register/available?username={name}")
    caller.call("available: no name", "GET", "register/available")
    caller.call("available: POST", "POST", "register/available", {})
    validity = "/_matrix/client/v1/register/m.login.registration_token/validity"
    caller.call("no registration token", "GET", validity)
    caller.call("an unknown registration token", "GET", f"{validity}?token=x")
    caller.call("GET register", "GET", "register")
    caller.call("a mail", "POST", "register/email/requestToken", {"client_secret": "a", "email": "a@b.c"})


def login(caller: Caller) -> None:
    """All ways to say who one is."""
    caller.register("ada")
    name, user_id = caller.names["unique ada"], caller.names["ada"]
    address = {"medium": "email", "address": "nobody@mail.test"}
    bodies: Mapping[str, Any] = {
        "nothing": None,
        "an empty body": b"",
        "no JSON": b"nope",
        "a list": [1],
        "no fields": {},
        "a localpart": named(name, device_id="D"),
        "a user id": named(user_id, device_id="D"),
        "capitals": named(name.upper(), device_id="D"),
        "an at sign and no server": named(f"@{name}"),
        "another server": named(f"@{name}:other.test"),
        "nobody": named("nobody"),
        "no ASCII": named("é"),
        "a space before it": named(f" {name}"),
        "the wrong password": named(name, password="wrong"),
        "a number as user": named(5),
        "an unknown identifier": {"type": PASSWORD, "identifier": {"type": "x"}, "password": "secret"},
        "no user": {"type": PASSWORD, "identifier": {"type": "m.id.user"}, "password": "secret"},
        "an unknown address": named("", identifier={"type": "m.id.thirdparty", **address}),
        "half an address": named("", identifier={"type": "m.id.thirdparty", "medium": "email"}),
        "the old user": {"type": PASSWORD, "user": name, "password": "secret", "device_id": "D"},
        "the old address": {"type": PASSWORD, **address, "password": "secret"},
        "a number as device": named(name, device_id=5),
        "no ASCII as device": named(name, device_id="é ü/?"),
        "a number as name of the device": named(name, initial_device_display_name=5),
        "refresh_token that is text": named(name, refresh_token="x"),
        "no refresh token": named(name, refresh_token=False),
    }
    for label, body in bodies.items():
        caller.call(label, "POST", "login", body)
    caller.call("with a token", "POST", "login", named(name), "ada")
    caller.call("with a bad token", "POST", "login", named(name), "bad")
    caller.call("a token for another device", "POST", "/_matrix/client/v1/login/get_token", {}, "ada")


def login_by_address(caller: Caller) -> None:
    """Administrators say what a user is known by."""
    caller.register("root", admin=True)
    caller.register("ada")
    address = f"{caller.unique('ada')}@mail.test"
    threepids = [{"medium": "email", "address": address}]
    caller.ask("PUT", "/_synapse/admin/v2/users/{ada}", {"threepids": threepids}, "root")
    for label, found in {"as it is": address, "capitals": address.upper()}.items():
        by_address = {"type": "m.id.thirdparty", "medium": "email", "address": found}
        caller.call(label, "POST", "login", named("", identifier=by_address))
        caller.call(f"{label}, wrong", "POST", "login", named("", identifier=by_address, password="x"))
        old = {"type": PASSWORD, "medium": "email", "address": found, "password": "secret"}
        caller.call(f"{label}, old", "POST", "login", old)
    caller.names["address"] = address
    caller.call("told", "GET", "account/3pid", by="ada")
    caller.call("forgotten", "POST", "account/3pid/delete", threepids[0], "ada")
    caller.call("unknown", "POST", "login", named("", identifier={"type": "m.id.thirdparty", **threepids[0]}))


def login_by_telephone(caller: Caller) -> None:
    """Numbers as they are dialled."""
    caller.register("root", admin=True)
    caller.register("ada")
    digits = f"{secrets.randbelow(10**6):06}"
    threepids = [{"medium": "msisdn", "address": f"447700{digits}"}]
    caller.ask("PUT", "/_synapse/admin/v2/users/{ada}", {"threepids": threepids}, "root")
    for label, known in {
        "at home": {"country": "GB", "number": f"07700{digits}"},
        "with blanks": {"country": "GB", "number": f"07700 {digits[:3]}-{digits[3:]}"},
        "from elsewhere": {"country": "DE", "number": f"+447700{digits}"},
        "no country": {"number": f"+447700{digits}"},
        "no number": {"country": "GB"},
        "no digits": {"country": "GB", "number": "abc"},
        "an unknown country": {"country": "XX", "number": f"07700{digits}"},
        "small letters": {"country": "gb", "number": f"07700{digits}"},
        "another number": {"country": "GB", "number": "01234567890"},
        "a short number": {"country": "GB", "number": "12"},
    }.items():
        caller.call(label, "POST", "login", named("", identifier={"type": "m.id.phone", **known}))


def sessions(caller: Caller) -> None:
    """Tokens: refreshed, given in odd ways, ended."""
    caller.register("ada", "bob")
    log_in(caller, "ada", "PHONE", initial_device_display_name="My phone")
    log_in(caller, "bob", "TAB", refresh_token=True)
    first = caller.answers["TAB of bob"]["refresh_token"]
    for label, body in {
        "nothing": {},
        "a number": {"refresh_token": 5},
        "null": {"refresh_token": None},
        "unknown": {"refresh_token": "x"},
        "an access token": {"refresh_token": caller.tokens["TAB"]},
        "good": {"refresh_token": first},
        "once more": {"refresh_token": first},
    }.items():
        caller.call(f"refresh: {label}", "POST", "refresh", body)
    caller.tokens["new"] = caller.answers["refresh: once more"]["access_token"]
    caller.call("the old token", "GET", "account/whoami", by="TAB")
    caller.call("the new token", "GET", "account/whoami", by="new")
    caller.call("no token", "GET", "account/whoami")
    caller.call("a bad token", "GET", "account/whoami", by="bad")
    caller.call("POST", "POST", "account/whoami", {}, "ada")
    caller.call("another scheme", "GET", "account/whoami", headers={"Authorization": "Basic abc"})
    caller.call("no word", "GET", "account/whoami", headers={"Authorization": "Bearer "})
    caller.call("in the query", "GET", f"account/whoami?access_token={caller.tokens['ada']}")
    caller.call("of another user", "GET", "account/whoami?user_id={bob}", by="ada")
    caller.call("r0", "GET", "/_matrix/client/r0/account/whoami", by="ada")
    for path in ("logout", "logout/all"):
        caller.call(f"{path}: no token", "POST", path)
        caller.call(f"{path}: a bad token", "POST", path, by="bad")
    caller.call("log out with a bad body", "POST", "logout", b"nope", "PHONE")
    caller.call("log out again", "POST", "logout", by="PHONE")
    caller.call("the device is gone", "GET", "devices/PHONE", by="ada")
    caller.call("log out everywhere", "POST", "logout/all", {}, "bob")
    caller.call("log out everywhere again", "POST", "logout/all", {}, "bob")
    caller.call("all are gone", "GET", "account/whoami", by="new")


def password(caller: Caller) -> None:
    """A new password, with proof of the old one."""
    caller.register("ada", "bob")
    log_in(caller, "ada", "B")
    for label, body in {
        "an empty body": b"",
        "a number": {"new_password": 5},
        "a long one": {"new_password": "x" * 600},
        "no proof": {"new_password": "second"},
    }.items():
        caller.call(label, "POST", "account/password", body, "ada")
    caller.call("a bad token", "POST", "account/password", {}, "bad")
    proof = named(caller.names["ada"], session=caller.answers["no proof"]["session"])
    change = {"new_password": "second", "logout_devices": False}
    for label, more in {
        "wrong": {"password": "wrong"},
        "another stage": {"type": "m.login.email.identity"},
        "right": {},
    }.items():
        caller.call(label, "POST", "account/password", {**change, "auth": {**proof, **more}}, "ada")
    caller.call("nothing new", "POST", "account/password", {"auth": proof}, "ada")
    caller.call("the other session", "GET", "account/whoami", by="B")
    caller.call("the old password", "POST", "login", named(caller.names["ada"]))
    caller.call("the new password", "POST", "login", named(caller.names["ada"], password="second"))
    old = {"type": PASSWORD, "user": caller.names["ada"], "password": "second"}
    caller.call("again", "POST", "account/password", {"new_password": "third", "auth": old}, "ada")
    caller.call("the other session ends", "GET", "account/whoami", by="B")
    caller.call("one's own goes on", "GET", "account/whoami", by="ada")
    caller.call("no addresses", "GET", "account/3pid", by="ada")
    caller.call("addresses of nobody", "GET", "account/3pid")
    mail = {"client_secret": "abc", "email": "a@b.c", "send_attempt": 1}
    caller.call("an address", "POST", "account/3pid/email/requestToken", mail, "ada")
    caller.call("a number to call", "POST", "account/3pid/msisdn/requestToken", mail, "ada")
    caller.call("a mail for the password", "POST", "account/password/email/requestToken", mail)
    forgotten = {"medium": "email", "address": "a@b.c"}
    caller.call("forget", "POST", "account/3pid/delete", forgotten, "ada")
    caller.call("unbind", "POST", "account/3pid/unbind", forgotten, "ada")


def deactivation(caller: Caller) -> None:
    """What is left of an account: its name."""
    caller.register("ada")
    caller.call("no token", "POST", "account/deactivate", {})
    caller.call("a number", "POST", "account/deactivate", {"erase": 5}, "ada")
    session = caller.call("no proof", "POST", "account/deactivate", {}, "ada")["session"]
    proof = named(caller.names["ada"], session=session)
    caller.call("closed", "POST", "account/deactivate", {"auth": proof, "erase": True}, "ada")
    caller.call("the token", "GET", "account/whoami", by="ada")
    caller.call("the password", "POST", "login", named(caller.names["ada"]))
    caller.call("the name", "GET", f"register/available?username={caller.names['unique ada']}")
    wait_until(lambda: caller.ask("GET", "profile/{ada}").status == 404, "the profile is gone")  # by a task
    caller.call("the profile", "GET", "profile/{ada}")


def devices(caller: Caller) -> None:
    """Listed, renamed, deleted with proof."""
    caller.register("ada", "bob")
    for device in ("A", "B", "C"):
        log_in(caller, "ada", device, initial_device_display_name=f"Device {device}")
    path = "devices/B"
    for by in (None, "bad", "bob"):
        caller.call(f"of others: {by}", "GET", path, by=by)
        caller.call(f"put by others: {by}", "PUT", path, {"display_name": "x"}, by)
        caller.call(f"delete by others: {by}", "DELETE", path, by=by)
    caller.call("all of nobody", "GET", "devices")
    caller.call("unknown", "GET", "devices/ZZ", by="A")
    caller.call("unknown put", "PUT", "devices/ZZ", {"display_name": "x"}, "A")
    for label, body in {
        "a name": {"display_name": "Näme", "more": 1},
        "no name": {},
        "null": {"display_name": None},
        "a number": {"display_name": 5},
        "a long name": {"display_name": "x" * 300},
        "an empty name": {"display_name": ""},
        "an empty body": b"",
        "a list": [],
    }.items():
        caller.call(f"put {label}", "PUT", path, body, "A")
        caller.call(f"after {label}", "GET", path, by="A")
    proof = named(caller.names["ada"])
    for label, body in {
        "no body": None,
        "an empty body": b"",
        "no proof": {},
        "wrong": {"auth": {**proof, "password": "x"}},
        "an unknown session": {"auth": {**proof, "session": "x"}},
    }.items():
        caller.call(f"delete: {label}", "DELETE", path, body, "A")
    right = {"auth": {**proof, "session": caller.answers["delete: no proof"]["session"]}}
    caller.call("delete", "DELETE", path, right, "A")
    caller.call("its token", "GET", "account/whoami", by="B")
    caller.call("delete unknown", "DELETE", "devices/ZZ", {"auth": proof}, "A")
    for label, body in {
        "nothing": {},
        "an empty body": b"",
        "text": {"devices": "C"},
        "numbers": {"devices": [5]},
        "none": {"devices": []},
        "no proof": {"devices": ["C"]},
        "one, and one that is unknown": {"devices": ["C", "ZZ"], "auth": proof},
    }.items():
        caller.call(f"delete some: {label}", "POST", "delete_devices", body, "A")
    caller.call("gone", "GET", "devices/C", by="A")


ABSENT = "what is absent is M_MISSING_PARAM"
BAD_TYPE = "a value of the wrong type is M_BAD_JSON"
SCENARIOS: Mapping[Scenario, Mapping[str, str]] = {
    registration: {
        "a number as device: status": "a device id is text",
        "again with another password: status": "the session stands in addresses of pages: it proves nobody",
    },
    login: {},
    login_by_address: {},
    login_by_telephone: {"no country: .errcode": ABSENT, "no number: .errcode": ABSENT},
    sessions: {"refresh: a number: .errcode": BAD_TYPE, "refresh: null: .errcode": BAD_TYPE},
    password: {"a long one: .errcode": "the JSON is good, the value is not"},
    deactivation: {},
    devices: {},
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_accounts(scenario: Scenario, synapse: Synapse, server: Server) -> None:
    """Clients find what they find on Synapse."""
    wrong = differences(scenario, synapse, server, SCENARIOS[scenario])
    assert not wrong, "\n".join(wrong)
