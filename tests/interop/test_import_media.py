"""What real Synapse has stored becomes media of this server."""

from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

import yaml
from click.testing import CliRunner

from synapse_lite.cli import main
from tests.handlers.test_media_thumbnails import encoded, photo
from tests.interop.synapse import Synapse
from tests.processes.conftest import BuildSite, build_site
from tests.processes.site import SERVER

__all__ = ["build_site"]

FILES = {"a b.txt": b"hello", "bild.png": encoded(photo(640, 480))}


def test_media_of_synapse(build_site: BuildSite, tmp_path: Path) -> None:
    """Each file is at its old mxc URI, with its name."""
    with Synapse(tmp_path, server_name=SERVER) as synapse:
        token = synapse.register("alice")["access_token"]
        media = {name: upload(synapse.base_url, token, name, data) for name, data in FILES.items()}
    options = yaml.safe_load((tmp_path / "synapse.yaml").read_text())
    site = build_site("main")
    site.start("main")
    command = ["import-media", *site.config_words("main"), "--media-store", options["media_store_path"]]
    result = CliRunner().invoke(main, [*command, "--database", options["database"]["args"]["database"]])
    assert (result.exit_code, result.stdout.partition(" (")[0]) == (0, f"imported: {len(FILES)}"), (
        result.output
    )
    reader = site.user("reader")
    for name, place in media.items():
        request = Request(f"{site.url()}/_matrix/client/v1/media/download/{place}")
        request.add_header("Authorization", f"Bearer {reader.access_token}")
        with urlopen(request, timeout=300) as answer:
            assert answer.read() == FILES[name]
            assert name in answer.headers["Content-Disposition"]


def upload(base_url: str, token: str, name: str, data: bytes) -> str:
    """`<server name>/<media id>`"""
    request = Request(f"{base_url}/_matrix/media/v3/upload?filename={quote(name)}", data)
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "image/png" if name.endswith("png") else "text/plain")
    with urlopen(request, timeout=300) as answer:
        place: str = answer.read().decode().split('"mxc://')[1].split('"')[0]
        return place
