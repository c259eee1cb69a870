"""Keys of servers: published, fetched, kept, vouched for."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.canonical_json import encode_exact
from synapse_lite.federation.keyring import PATIENCE_SECONDS, RETRY_SECONDS, KeysAwayError, Signed
from synapse_lite.federation.peers import PeerError
from synapse_lite.federation.trust import MOST, SECONDS
from synapse_lite.matrix.server_keys import RetiredKey, read_key_answer, write_key_answer
from synapse_lite.matrix.signing import (
    SignatureError,
    encode_base64,
    generate_signing_key,
    verify_signed_json,
)
from tests.builders import SERVER
from tests.federation.conftest import OTHER, JoinNetwork
from tests.federation.network import FOREVER, Network, Scripted
from tests.federation.remote_room import until
from tests.server import TestServer

KEYS = "/_matrix/key/v2/server"
PUBLIC = "A" * 43


def public(key: Any) -> str:
    return encode_base64(bytes(key.verify_key))


def signed_by(other: Scripted, at: int | None) -> Signed:
    return Signed(OTHER, {OTHER: {other.key.key_id: other.key.sign_bytes(b"data")}}, b"data", at)


@ensureDeferred
async def test_our_keys(join_network: JoinNetwork) -> None:
    """The key in use and the retired ones, with their end, signed by ourselves; in both spellings of the path."""
    old = generate_signing_key(SERVER)
    retired = {"ed25519:old": {"key": public(old), "expired_ts": 1234}}
    server = await join_network(old_signing_keys=retired, key_refresh_interval="1h")
    for path in (KEYS, f"{KEYS}/{server.signing_key.key_id}"):
        answer = await server.ok("GET", path)
        verify_signed_json(answer, SERVER, server.signing_key.key_id, server.signing_key.verify_key)
        assert answer.keys() == {
            "server_name", "valid_until_ts", "verify_keys", "old_verify_keys", "signatures",
        }  # fmt: skip
        assert answer["verify_keys"] == {server.signing_key.key_id: {"key": public(server.signing_key)}}
        assert answer["old_verify_keys"] == retired
        assert 0 < answer["valid_until_ts"] - server.clock.now_ms() <= 3_600_000


@ensureDeferred
async def test_keys_are_fetched_once(server: TestServer, other: Scripted, network: Network) -> None:
    """Many that wait for the keys of one server share one request, and later ones need none."""
    keyring = server.core.federation.keyring
    now = server.clock.now_ms()
    await gatherResults([Deferred.fromCoroutine(keyring.verify(signed_by(other, now))) for _ in range(20)])
    await keyring.verify(signed_by(other, None))
    assert network.asked == [(OTHER, "GET", KEYS)]


@ensureDeferred
async def test_the_keys_of_a_dead_server_are_asked_for_once_in_a_while(
    server: TestServer, network: Network
) -> None:
    """Its failure is remembered for all events of it, and forgotten after half a minute."""
    keyring = server.core.federation.keyring
    dead = Signed("dead.test", {"dead.test": {"ed25519:1": "c2ln"}}, b"data", None)
    results = await keyring.verify_all([dead] * 500)
    assert all(isinstance(result, SignatureError) for result in results)
    await keyring.verify_all([dead])
    assert len(network.asked) == 1
    server.clock.advance(31)
    await keyring.verify_all([dead])
    assert len(network.asked) == 2


@ensureDeferred
async def test_a_server_is_away_once_more(server: TestServer) -> None:
    """What it signed may be verified soon: for two minutes, and anew a day later, when nobody asked for its keys meanwhile."""
    keyring = server.core.federation.keyring
    dead = Signed("dead.test", {"dead.test": {"ed25519:1": "c2ln"}}, b"data", None)
    failures = []
    for seconds in (0, PATIENCE_SECONDS + 1, RETRY_SECONDS + 1, 86_400):
        server.clock.advance(seconds)
        failures += await keyring.verify_all([dead])
    assert [type(one) for one in failures] == [KeysAwayError, SignatureError, SignatureError, KeysAwayError]


@ensureDeferred
async def test_for_what_a_key_is_good(server: TestServer, other: Scripted) -> None:
    """A retired key verifies what was signed before its end, and whatever is asked without a time."""
    new = generate_signing_key(OTHER)
    answer = write_key_answer(new, [RetiredKey(other.key.key_id, public(other.key), 5000)], FOREVER)
    other.scripts[KEYS] = lambda *_: answer
    keyring = server.core.federation.keyring
    signed = [signed_by(other, at) for at in (None, 5000, 5001)]
    assert [result is None for result in await keyring.verify_all(signed)] == [True, True, False]


@ensureDeferred
async def test_a_key_that_is_in_use_again(server: TestServer, other: Scripted) -> None:
    """A server goes back to the key that it had retired: its newest answer counts, whatever older ones say that come later."""
    keyring, now = server.core.federation.keyring, server.clock.now_ms()
    new = generate_signing_key(OTHER)
    retired = [RetiredKey(other.key.key_id, public(other.key), 5000)]
    answers = [
        (write_key_answer(other.key, [], now + 1000), True),
        (write_key_answer(new, retired, now + 2000), False),
        (write_key_answer(other.key, [], now + 1000), False),
        (write_key_answer(other.key, [], now + 3000), True),
    ]
    for answer, is_good in answers:
        other.scripts[KEYS] = lambda *_, answer=answer: answer
        await keyring.refresh([OTHER])
        (failure,) = await keyring.verify_all([signed_by(other, now)])
        assert (failure is None) is is_good


@ensureDeferred
async def test_keys_that_a_server_does_not_have(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """It is asked for them some times, then once a second, whoever claims that it signed by them."""
    keyring = server.core.federation.keyring
    for number in range(MOST * 3):
        forged = Signed(OTHER, {OTHER: {f"ed25519:{number}": "c2ln"}}, b"data", None)
        assert isinstance((await keyring.verify_all([forged]))[0], SignatureError)
        server.clock.advance(SECONDS / 1000)
    assert len(network.asked) == MOST
    new = type(other.key)(OTHER, "new", generate_signing_key(OTHER).key)
    other.scripts[KEYS] = lambda *_: write_key_answer(new, [], FOREVER)
    signed = Signed(OTHER, {OTHER: {new.key_id: new.sign_bytes(b"data")}}, b"data", None)
    server.clock.advance(SECONDS)
    assert await keyring.verify_all([signed]) == [None]


@ensureDeferred
async def test_two_keys_of_one_id(server: TestServer, other: Scripted) -> None:
    """A server that uses an id again does not make its old events unverifiable."""
    keyring = server.core.federation.keyring
    old, new = (generate_signing_key(OTHER) for _ in range(2))
    signatures = []
    for key in (old, new):
        again = type(key)(OTHER, "auto", key.key)
        other.scripts[KEYS] = lambda *_, key=again: write_key_answer(key, [], FOREVER)
        await keyring.refresh([OTHER])
        signatures.append(Signed(OTHER, {OTHER: {"ed25519:auto": again.sign_bytes(b"x")}}, b"x", None))
    assert await keyring.verify_all(signatures) == [None, None]


@ensureDeferred
async def test_key_servers_that_lie(server: TestServer, other: Scripted) -> None:
    """Keys that are not signed by themselves, or those of somebody else, are not taken."""
    keyring = server.core.federation.keyring
    good = write_key_answer(other.key, [], FOREVER)
    someone = write_key_answer(generate_signing_key("someone.test"), [], FOREVER)
    forged = {**good, "verify_keys": {**good["verify_keys"], "ed25519:evil": {"key": public(other.key)}}}
    for lie in (forged, someone, {**good, "signatures": {}}, {**good, "valid_until_ts": "x"}, {}):
        other.scripts[KEYS] = lambda *_, lie=lie: lie
        (result,) = await keyring.verify_all([signed_by(other, None)])
        assert isinstance(result, SignatureError)
        server.clock.advance(31)


@ensureDeferred
async def test_notaries_know_the_keys_of_dead_servers(join_network: JoinNetwork, network: Network) -> None:
    """Both ways: a server of ours asks another one, which believes, signs and keeps what it was told."""
    other = network.scripted(OTHER)
    notary = await join_network("notary.test")
    assert await notary.core.federation.keyring.verify_all([signed_by(other, None)]) == [None]
    del network.servers[OTHER]
    keys = {notary.signing_key.key_id: public(notary.signing_key)}
    trusted = [{"server_name": "notary.test", "verify_keys": keys}]
    server = await join_network(trusted_key_servers=trusted)
    assert await server.core.federation.keyring.verify_all([signed_by(other, None)]) == [None]
    assert network.asked[-1] == ("notary.test", "POST", "/_matrix/key/v2/query")


@ensureDeferred
async def test_a_notary_must_sign(join_network: JoinNetwork, network: Network) -> None:
    """What was signed by another key than the one that is configured, nobody vouches for."""
    other = network.scripted(OTHER)
    notary = network.scripted("notary.test")
    answer = write_key_answer(other.key, [], FOREVER)
    notary.scripts["/_matrix/key/v2/query"] = lambda *_: {"server_keys": [answer]}
    del network.servers[OTHER]
    keys = {notary.key.key_id: public(notary.key)}
    server = await join_network(trusted_key_servers=[{"server_name": "notary.test", "verify_keys": keys}])
    (result,) = await server.core.federation.keyring.verify_all([signed_by(other, None)])
    assert isinstance(result, SignatureError)


@ensureDeferred
async def test_the_best_that_is_known_is_told(server: TestServer, other: Scripted) -> None:
    """A longer validity is not overwritten by a shorter one, nor forgotten when the server is gone."""
    asked = {"server_keys": {OTHER: {other.key.key_id: {"minimum_valid_until_ts": FOREVER}}, SERVER: {}}}
    for valid_until in (FOREVER, 1000):
        other.scripts[KEYS] = lambda *_, valid_until=valid_until: write_key_answer(other.key, [], valid_until)
        answer = await server.ok("POST", "/_matrix/key/v2/query", asked)
        theirs, ours = answer["server_keys"]
        assert theirs["valid_until_ts"] == FOREVER
        assert theirs["signatures"].keys() == {OTHER, SERVER}
        assert ours["server_name"] == SERVER
        read_key_answer(theirs, OTHER, server.clock.now_ms())
        verify_signed_json(theirs, SERVER, server.signing_key.key_id, server.signing_key.verify_key)
    other.scripts[KEYS] = _gone
    answer = await server.ok("GET", f"/_matrix/key/v2/query/{OTHER}?minimum_valid_until_ts={FOREVER}")
    assert [one["server_name"] for one in answer["server_keys"]] == [OTHER]


@ensureDeferred
async def test_many_servers_are_asked_at_once(server: TestServer, network: Network) -> None:
    """Who wants to know the keys of several waits for the slowest of them, not for one after the other."""
    names = [f"slow{number}.test" for number in range(3)]

    async def slow(*_: object) -> dict[str, Any]:
        await until(server, lambda _: {name for name, *_ in network.asked} >= set(names))
        raise PeerError("too late")

    for name in names:
        network.scripted(name).scripts[KEYS] = slow
    body = {"server_keys": {name: {} for name in names}}
    assert (await server.ok("POST", "/_matrix/key/v2/query", body))["server_keys"] == []
    assert len(network.asked) == len(names)


def _gone(*_: object) -> dict[str, Any]:
    raise PeerError("gone")


@ensureDeferred
async def test_wrong_questions(server: TestServer) -> None:
    """Are 400, and unknown servers are left out."""
    for wrong in (
        {}, {"server_keys": []}, {"server_keys": {"a/b": {}}}, {"server_keys": {"a.test": []}},
        {"server_keys": {"a.test": {"ed25519:1": {"minimum_valid_until_ts": "x"}}}},
        {"server_keys": {f"s{n}.test": {} for n in range(101)}},
    ):  # fmt: skip
        status, _ = await server.refusal("POST", "/_matrix/key/v2/query", wrong)
        assert status == 400
    assert await server.ok("GET", "/_matrix/key/v2/query/unknown.test") == {"server_keys": []}


@pytest.mark.parametrize(
    "odd",
    [
        {"valid_until_ts": -(2**70)},
        {"valid_until_ts": 2**70},
        {"old_verify_keys": {"ed25519:old": {"key": PUBLIC, "expired_ts": 2**70}}},
        {"old_verify_keys": {"ed25519:old": {"key": PUBLIC, "expired_ts": -(2**70)}}},
        {"old_verify_keys": {"ed25519:\0": {"key": PUBLIC, "expired_ts": 1}}},
        {"more": 2**70},
        {"more": "\0"},
        {"more": 1.5},
    ],
)
@ensureDeferred
async def test_answers_with_what_cannot_be_kept(
    server: TestServer, other: Scripted, network: Network, odd: dict[str, Any]
) -> None:
    """They are no fault of ours: the server is believed, or left alone for a while as one that does not answer."""
    answer = {**write_key_answer(other.key, [], FOREVER), **odd}
    del answer["signatures"]
    signature = other.key.sign_bytes(encode_exact(answer))
    other.scripts[KEYS] = lambda *_: {**answer, "signatures": {OTHER: {other.key.key_id: signature}}}
    keyring = server.core.federation.keyring
    results = [(await keyring.verify_all([signed_by(other, None)]))[0] for _ in range(2)]
    assert all(result is None or isinstance(result, SignatureError) for result in results)
    assert len(network.asked) == 1


@ensureDeferred
async def test_a_new_key_of_ours(join_network: JoinNetwork, network: Network) -> None:
    """What was signed with the one before is verified by the configuration; nobody is asked for our own keys."""
    old = generate_signing_key(SERVER)
    retired = {old.key_id: {"key": public(old), "expired_ts": 1234}}
    server = await join_network(old_signing_keys=retired)
    signed = [
        Signed(SERVER, {SERVER: {key.key_id: key.sign_bytes(b"data")}}, b"data", 1000)
        for key in (old, server.signing_key)
    ]
    unknown = Signed(SERVER, {SERVER: {"ed25519:none": old.sign_bytes(b"data")}}, b"data", 1000)
    results = await server.core.federation.keyring.verify_all([*signed, unknown])
    assert results[:2] == [None, None]
    assert isinstance(results[2], SignatureError)
    assert network.asked == []


@ensureDeferred
async def test_the_same_key_several_times(join_network: JoinNetwork, network: Network) -> None:
    """In one answer of a notary, as a key in use and as a retired one, and in requests side by side: it is kept once."""
    other, notary = network.scripted(OTHER), network.scripted("notary.test")
    answers = [
        write_key_answer(other.key, [RetiredKey(key_id, public(other.key), 5000)], FOREVER)
        for key_id in ("ed25519:old", other.key.key_id)
    ]
    vouched = [{**one, "signatures": {**one["signatures"]}} for one in (*answers, *answers)]
    notary.scripts["/_matrix/key/v2/query"] = lambda *_: {"server_keys": vouched}
    del network.servers[OTHER]
    server = await join_network(trusted_key_servers=[{"server_name": "notary.test"}])
    keyring = server.core.federation.keyring
    asking = [Deferred.fromCoroutine(keyring.verify(signed_by(other, 1000))) for _ in range(5)]
    await gatherResults(asking)
    kept = await server.database.read(
        lambda txn: txn.rows("SELECT key_id FROM server_keys WHERE server_name = %s", (OTHER,))
    )
    assert sorted(kept) == sorted([("ed25519:old",), (other.key.key_id,)])


@ensureDeferred
async def test_keys_that_cannot_be_stored(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours makes no signature a bad one: who asks fails, and asks again."""
    keyring = server.core.federation.keyring

    def break_down(*_: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr("synapse_lite.storage.server_keys.put_keys", break_down)
        with pytest.raises(RuntimeError, match="broken"):
            await keyring.verify_all([signed_by(other, None)])
    assert await keyring.verify_all([signed_by(other, None)]) == [None]


@ensureDeferred
async def test_keys_that_are_known_need_nobody(server: TestServer, other: Scripted, network: Network) -> None:
    """While a key is good its server may be gone; after that what it signed before is still believed, and nothing new."""
    keyring = server.core.federation.keyring
    now = server.clock.now_ms()
    other.scripts[KEYS] = lambda *_: write_key_answer(other.key, [], now + 3_600_000)
    await keyring.verify(signed_by(other, now))
    del network.servers[OTHER]
    network.asked.clear()
    await keyring.verify(signed_by(other, now + 3_599_000))
    assert network.asked == []
    results = await keyring.verify_all([signed_by(other, at) for at in (now, now + 3_601_000)])
    assert results[0] is None
    assert isinstance(results[1], SignatureError)
