"""Media between Synapse and this server, over TLS."""

import os
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from nio.crypto.attachments import decrypt_attachment, encrypt_attachment

from tests.handlers.test_media_thumbnails import encoded, photo, read
from tests.interop.test_federation import Pair, build_site, pair

__all__ = ["build_site", "pair"]

NAME = "bild é.png"


class Client:
    """Of either server."""

    def __init__(self, base_url: str, token: str) -> None:
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {token}"}

    def upload(self, data: bytes, content_type: str) -> str:
        """`<server name>/<media id>`"""
        path = f"/_matrix/media/v3/upload?filename={quote(NAME)}"
        headers = {**self._headers, "Content-Type": content_type}
        with urlopen(Request(self._base_url + path, data, headers), timeout=300) as answer:
            uri: str = answer.read().decode().split('"mxc://')[1].split('"')[0]
            return uri

    def get(self, path: str) -> tuple[bytes, str, str]:
        """Bytes, type and disposition."""
        request = Request(f"{self._base_url}/_matrix/client/v1/media/{path}", headers=self._headers)
        with urlopen(request, timeout=300) as answer:
            return answer.read(), answer.headers["Content-Type"], answer.headers["Content-Disposition"]


@pytest.fixture(scope="module")
def clients(pair: Pair) -> tuple[Client, Client]:
    """One of Synapse, one of ours."""
    theirs = pair.synapse.register("media")
    ours = pair.ours.user("media")
    return Client(pair.synapse.base_url, theirs["access_token"]), Client(ours.base_url, ours.access_token)


@pytest.mark.parametrize("owner", [0, 1], ids=["of Synapse", "of ours"])
def test_files_go_both_ways(clients: tuple[Client, Client], owner: int) -> None:
    """Bytes, type, name and thumbnail of a picture; an encrypted attachment can be decrypted; a large file."""
    one, other = clients[owner], clients[1 - owner]
    png = encoded(photo(640, 480))
    media = one.upload(png, "image/png")
    data, content_type, disposition = other.get(f"download/{media}")
    assert (data, content_type) == (png, "image/png")
    assert quote(NAME) in disposition
    thumbnail, *_ = other.get(f"thumbnail/{media}?width=96&height=96&method=crop")
    assert read(thumbnail).size == (96, 96)
    secret, keys = encrypt_attachment(b"a secret")
    got, *_ = other.get(f"download/{one.upload(secret, 'application/octet-stream')}")
    assert decrypt_attachment(got, keys["key"]["k"], keys["hashes"]["sha256"], keys["iv"]) == b"a secret"
    large = os.urandom(5_000_000)
    assert other.get(f"download/{one.upload(large, 'video/mp4')}")[0] == large
