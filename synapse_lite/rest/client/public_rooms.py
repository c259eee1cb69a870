"""The directory of rooms."""

from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json, invalid_param
from synapse_lite.handlers.public_rooms import DEFAULT_LIMIT, DirectoryQuery, PublicRooms
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.body import optional_text, parameter

MAX_TERM = 255
MAX_NETWORK = 1024
MAX_TYPES = 100
MAX_TOKEN = 1024


class PublicRoomsApi:
    """`without_token`: whether anybody may read the list."""

    def __init__(self, directory: PublicRooms, *, without_token: bool) -> None:
        self._directory = directory
        self._access = Access.OPTIONAL if without_token else Access.GUEST

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/publicRooms", self.get, self._access),
            *client_routes("POST", "/publicRooms", self.search, Access.GUEST),
        ]

    async def get(self, request: Request, _requester: Requester | None) -> JsonObject:
        """`GET /_matrix/client/v3/publicRooms`"""
        return await self._directory.page(query_of(request), request.query("server") or None)

    async def search(self, request: Request, _requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/publicRooms`"""
        return await self._directory.page(
            read_query(request.json_object(allow_empty=True)), request.query("server") or None
        )


def query_of(request: Request) -> DirectoryQuery:
    """A query that stands in the address. A limit of 0 is none."""
    network, all_networks = (
        request.query("third_party_instance_id"),
        request.query_bool("include_all_networks"),
    )
    _check_network(network, all_networks)
    return DirectoryQuery(
        request.query_int("limit", DEFAULT_LIMIT) or DEFAULT_LIMIT,
        request.query("since") or None,
        network=network,
        all_networks=all_networks,
    )


def read_query(body: JsonObject) -> DirectoryQuery:
    """400 `M_BAD_JSON` for fields of the wrong type, `M_INVALID_PARAM` for those out of bounds."""
    limit = parameter(body, "limit", int, None)
    if limit is not None and limit < 0:
        raise invalid_param("'limit' must not be negative")
    network = optional_text(body, "third_party_instance_id", MAX_NETWORK)
    all_networks = parameter(body, "include_all_networks", bool, False)
    _check_network(network, all_networks)
    given: JsonObject | None = parameter(body, "filter", dict, None)
    wanted = given or {}
    return DirectoryQuery(
        limit or DEFAULT_LIMIT,
        optional_text(body, "since", MAX_TOKEN) or None,
        optional_text(wanted, "generic_search_term", MAX_TERM),
        _types(wanted),
        network,
        all_networks,
    )


def _check_network(network: str | None, all_networks: bool) -> None:
    if network is None:
        return
    if all_networks:
        raise invalid_param("'third_party_instance_id' names one network, 'include_all_networks' all of them")
    if "|" not in network:
        raise invalid_param("'third_party_instance_id' must name a service and its network")


def _types(wanted: JsonObject) -> list[str | None] | None:
    types: list[Any] | None = parameter(wanted, "room_types", list, None)
    if types is None:
        return None
    if len(types) > MAX_TYPES or not all(one is None or _is_text(one) for one in types):
        raise bad_json(f"'room_types' must be a list of at most {MAX_TYPES} strings and nulls")
    return types


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value
