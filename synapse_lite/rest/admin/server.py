"""What operators' tools ask first."""

from synapse_lite import __version__
from synapse_lite.canonical_json import JsonObject
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route

SYNAPSE_VERSION = "1.163.2"
"""Clients of the admin API read the version to know what they may use: this is what we are compatible with."""


class ServerApi:
    def routes(self) -> list[Route]:
        return [Route("GET", "/_synapse/admin/v1/server_version", self.version, Access.NONE)]

    async def version(self, _request: Request) -> JsonObject:
        """`GET /_synapse/admin/v1/server_version`, without a token"""
        return {"server_version": f"{SYNAPSE_VERSION} (synapse_lite {__version__})"}
