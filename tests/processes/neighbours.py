"""Servers on the loopback address that federate over TLS: each is `localhost:<port>`, and one authority vouches for all."""

import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote
from urllib.request import urlopen

from attrs import frozen

from tests.ports import free_port
from tests.processes.site import Site
from tests.workers.certificates import authority, server

HOST = "localhost"
_ADDRESSES = ["127.0.0.1"]
_SECONDS = 120.0


@frozen
class Neighbours:
    """The certificate of all of them, and what their configurations need; Synapse's have the same words."""

    directory: Path

    @classmethod
    def in_directory(cls, directory: Path) -> Self:
        root = authority("authority of the test")
        own = server(HOST, root)
        own.write_key(directory / "key.pem")
        (directory / "certificate.pem").write_text(own.pem)
        (directory / "authority.pem").write_text(root.pem)
        return cls(directory)

    def options(self, port: int) -> dict[str, Any]:
        return {
            "server_name": f"{HOST}:{port}",
            "tls_certificate_path": str(self.directory / "certificate.pem"),
            "tls_private_key_path": str(self.directory / "key.pem"),
            "federation_custom_ca_list": [str(self.directory / "authority.pem")],
            "federation_ip_range_blacklist": [],
            "trusted_key_servers": [],
        }

    def listener(self, port: int) -> dict[str, Any]:
        return {
            "port": port,
            "type": "http",
            "tls": True,
            "bind_addresses": _ADDRESSES,
            "resources": [{"names": ["federation"]}],
        }

    def get(self, server_name: str, path: str) -> Any:
        """JSON of what a server answers on its federation port to a request that needs no signature."""
        trusting = ssl.create_default_context(cafile=self.directory / "authority.pem")
        with urlopen(f"https://{server_name}{path}", timeout=_SECONDS, context=trusting) as answer:
            return json.load(answer)

    def keys_seen_by(self, asked: str, of: str) -> dict[str, Any]:
        """The signing keys of a server, by id, as another one found them."""
        (key_id,) = self.keys_of(of)  # Synapse looks for keys that it is asked for, and for no others
        (answer,) = self.get(asked, f"/_matrix/key/v2/query/{quote(of)}/{quote(key_id)}")["server_keys"]
        keys: dict[str, Any] = answer["verify_keys"]
        return keys

    def keys_of(self, server_name: str) -> dict[str, Any]:
        """As it publishes them."""
        keys: dict[str, Any] = self.get(server_name, "/_matrix/key/v2/server")["verify_keys"]
        return keys

    def site(self, build_site: Callable[..., Site], *runners: str, **options: Any) -> tuple[Site, str]:
        """A server of ours, which is not started, and its name."""
        port = free_port()
        merged = {**self.options(port), **options}
        return build_site(*runners, listeners=[self.listener(port)], **merged), merged["server_name"]
