"""Addresses of one's account over HTTP."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage.user_admin import replace_threepids
from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer


@ensureDeferred
async def test_addresses_are_listed_and_deleted(server: TestServer) -> None:
    """One's own only, with the keys of the specification; a second time changes nothing."""
    alice, bob = await server.user("alice"), await server.user("bob")
    assert await server.ok("GET", "account/3pid", None, alice) == {"threepids": []}
    for name, address in (("alice", "alice@a.test"), ("bob", "bob@b.test")):
        threepids = [("email", address)]
        await server.database.transact(replace_threepids, f"@{name}:{SERVER}", threepids, 5)
    shown = {"medium": "email", "address": "alice@a.test", "validated_at": 5, "added_at": 5}
    assert await server.ok("GET", "account/3pid", None, alice) == {"threepids": [shown]}
    for address in ("bob@b.test", "Alice@A.test", "alice@a.test"):
        body = {"medium": "email", "address": address}
        answer = await server.ok("POST", "account/3pid/delete", body, alice)
        assert answer == {"id_server_unbind_result": "no-support"}
    assert await server.ok("GET", "account/3pid", None, alice) == {"threepids": []}
    assert len((await server.ok("GET", "account/3pid", None, bob))["threepids"]) == 1
    for body, errcode in (
        ({"medium": "email"}, "M_MISSING_PARAM"),
        ({"medium": "x", "address": "y"}, "M_INVALID_PARAM"),
    ):
        assert await server.refusal("POST", "account/3pid/delete", body, alice) == (400, errcode)


@ensureDeferred
async def test_they_may_be_kept_from_changing_them(build_server: BuildServer) -> None:
    """`enable_3pid_changes`"""
    server = await build_server(**OPEN, enable_3pid_changes=False)
    alice = await server.user("alice")
    await server.database.transact(replace_threepids, f"@alice:{SERVER}", [("email", "alice@a.test")], 5)
    body = {"medium": "email", "address": "alice@a.test"}
    assert await server.refusal("POST", "account/3pid/delete", body, alice) == (403, "M_FORBIDDEN")
    assert len((await server.ok("GET", "account/3pid", None, alice))["threepids"]) == 1


@ensureDeferred
async def test_nothing_is_sent_to_an_address(server: TestServer) -> None:
    """Without mail and without an identity server each request is refused in words, and nothing is kept."""
    alice = await server.user("alice")
    for asked, refusal in (
        ("account/3pid", (400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")),
        ("account/password", (400, "M_UNKNOWN")),
        ("register", (400, "M_UNKNOWN")),
    ):
        for medium in ("email", "msisdn"):
            body = {"client_secret": "x", "email": "a@b.test", "send_attempt": 1}
            assert await server.refusal("POST", f"{asked}/{medium}/requestToken", body) == refusal
    proof = {"client_secret": "x", "sid": "1", "three_pid_creds": {}}
    for path, expected in (
        ("account/3pid", (403, "M_FORBIDDEN")),
        ("account/3pid/add", (403, "M_FORBIDDEN")),
        ("account/3pid/bind", (403, "M_SERVER_NOT_TRUSTED")),
    ):
        assert await server.refusal("POST", path, proof, alice) == expected
    address = {"medium": "email", "address": "a@b.test"}
    assert await server.ok("POST", "account/3pid/unbind", address, alice) == {
        "id_server_unbind_result": "no-support"
    }
    assert await server.ok("GET", "account/3pid", None, alice) == {"threepids": []}


@ensureDeferred
async def test_invites_to_addresses_are_refused(server: TestServer) -> None:
    """There is no identity server that would know whose it is."""
    alice = await server.user("alice")
    room = await server.room(alice)
    body = {"id_server": "id.test", "id_access_token": "x", "medium": "email", "address": "a@b.test"}
    assert await server.refusal("POST", f"{room}/invite", body, alice) == (400, "M_UNRECOGNIZED")
