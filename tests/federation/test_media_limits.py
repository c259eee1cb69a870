"""How much of other servers' media one may have fetched."""

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from tests.federation.conftest import JoinNetwork
from tests.federation.network import Network, Scripted
from tests.federation.test_media import SERVED, THEIRS, download, parts, questions, sends
from tests.http.memory import Answer
from tests.matrix.test_multipart import cut
from tests.rest.test_media import refusal
from tests.server import TestServer

MEBIBYTE_A_USER = {
    "max_upload_size": "1M",
    "remote_media_download_burst_count": "1M",
    "remote_media_download_per_second": "100K",
}


def begun(server: TestServer, token: str, media: str) -> "Deferred[Answer]":
    return Deferred.fromCoroutine(download(server, token, media))


@ensureDeferred
async def test_how_much_one_may_fetch(join_network: JoinNetwork, other: Scripted) -> None:
    """Bytes of files that were not here; another user still may, and later the first again."""
    server = await join_network(**MEBIBYTE_A_USER)
    alice, bob = await server.user("alice"), await server.user("bob")
    data = parts(b"x" * 600_000)
    other.files[SERVED] = sends(*cut(data, 99_999), length=len(data))
    assert (await download(server, alice, "other.test/file1")).status == 200
    assert refusal(await download(server, alice, "other.test/file2")) == (429, "M_LIMIT_EXCEEDED")
    assert (await download(server, alice, "other.test/file1")).status == 200
    assert (await download(server, bob, "other.test/file2")).status == 200
    server.clock.advance(10)
    assert (await download(server, alice, "other.test/file3")).status == 200
    other.files[SERVED] = sends(parts())  # of an unknown size: only what has arrived counts
    for number in range(4, 20):
        assert (await download(server, bob, f"other.test/file{number}")).status == 200, number
        server.clock.advance(7)


@ensureDeferred
async def test_several_at_once_of_unknown_size(join_network: JoinNetwork, other: Scripted) -> None:
    """A room's pictures: what has not come yet does not count, and what is too much ends while it comes."""
    server = await join_network(**MEBIBYTE_A_USER)
    alice = await server.user("alice")
    other.files[SERVED] = sends(*cut(parts(b"x" * 100_000), 9999))
    names = [f"other.test/file{number}" for number in range(8)]
    answers = await gatherResults([begun(server, alice, name) for name in names])
    assert {answer.status for answer in answers} == {200}
    other.files[SERVED] = sends(*cut(parts(b"x" * 900_000), 9999))
    assert refusal(await download(server, alice, "other.test/large")) == (429, "M_LIMIT_EXCEEDED")


@ensureDeferred
async def test_who_had_much_and_who_had_nothing(
    join_network: JoinNetwork, other: Scripted, network: Network
) -> None:
    """Both ask for one file: only who had much is refused, whoever was first."""
    server = await join_network(**MEBIBYTE_A_USER)
    alice, bob = await server.user("alice"), await server.user("bob")
    data = parts(b"x" * 600_000)
    other.files[SERVED] = sends(data, length=len(data))
    assert (await download(server, alice, "other.test/before")).status == 200
    waiting = [begun(server, token, "other.test/file") for token in (alice, alice, bob, bob)]
    answers = await gatherResults(waiting)
    assert [answer.status for answer in answers] == [429, 429, 200, 200]
    assert questions(network) == [THEIRS, THEIRS]
