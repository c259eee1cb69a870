"""Which URLs are asked for, and how they go out."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.http.client import AddressDeniedError, RequestError
from tests.http.origins import answer, saying
from tests.http.test_client import client, get, origin


@pytest.mark.parametrize(
    "host",
    ["[::1]", "[fd00::1]", "[FE80:0:0::1]", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]", "[64:ff9b::a01:203]"],
)
@ensureDeferred
async def test_a_denied_address_in_brackets(host: str) -> None:
    """It is a URL like others, and no connection is made: of https neither, nor by a redirect."""
    async with origin(saying(answer(b"", f"Location: http://{host}/", status="302 Found"))) as server:
        for url in (f"http://{host}:{server.port}/", f"https://{host}/", server.url()):
            with pytest.raises(AddressDeniedError):
                await get(client(), url, redirects=1)
        assert server.connections == 1


@ensureDeferred
async def test_a_permitted_address_in_brackets() -> None:
    """The server is asked by the address as the URL has it, in its short form."""
    async with origin(saying(answer(b"fine"))) as server:
        url = f"http://[0:0::FFFF:127.0.0.1]:{server.port}/a b?q=\u00fc#there"
        assert await get(client(), url) == (200, b"fine")
        assert server.requests[0].startswith(b"GET /a%20b?q=%C3%BC HTTP/1.1\r\n")
        assert f"Host: [::ffff:7f00:1]:{server.port}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "http://", "http:///path", "//127.0.0.1/",
        "http://user:secret@127.0.0.1/", "http://127.0.0.1:99999/", "http://[::1/", "javascript:1", "http://a b/",
        "http://127.0.0.1/" + "x" * 9000, "", "http://[fe80::1%eth0]/", "http://[fe80::1%25eth0]/", "http://fd00::1/",
        "http://[::1]x/", "http://[::1]@a.test/", "http://[1:2]/", "http://[]/", "http://[::1]:99999/",
    ],
)  # fmt: skip
@ensureDeferred
async def test_bad_urls(url: str) -> None:
    """What is no URL of http or https with a plain host is refused before anything is sent."""
    with pytest.raises(RequestError):
        await get(client(), url)
