"""Questions to other servers about what is theirs (server-server API, "Querying for information" and following).

Every method raises `PeerError` when the server does not answer, or with something else than was asked for.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.fetching import V1, listed, part
from synapse_lite.federation.peers import PeerError, Peers
from synapse_lite.ids import domain_of, is_room_id, is_server_name

MAX_SERVERS = 50  # of an alias
MAX_CHILDREN = 1000  # of a space, in one answer
MAX_TEXT = 4096
UNSTABLE = "/_matrix/federation/unstable"
COMPLEXITY_SECONDS = 10.0


@frozen
class RemoteAlias:
    """The room that an alias names, and servers that are in it."""

    room_id: str
    servers: Sequence[str]


class Queries:
    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def alias(self, alias: str) -> RemoteAlias:
        server = domain_of(alias)
        answer = await self._get(server, "query/directory", [("room_alias", alias)])
        room_id, servers = answer.get("room_id"), answer.get("servers")
        if not isinstance(room_id, str) or not is_room_id(room_id):
            raise PeerError(f"{server} names no room for {alias}")
        named = [one for one in servers if isinstance(one, str)] if isinstance(servers, list) else []
        good = [one for one in named[:MAX_SERVERS] if is_server_name(one)]
        return RemoteAlias(room_id, list(dict.fromkeys([*good, server])))

    async def profile(self, user_id: str, field: str | None = None) -> JsonObject:
        """What the user shows of themselves, as far as it is well-formed."""
        wanted = [("user_id", user_id), *([] if field is None else [("field", field)])]
        answer = await self._get(domain_of(user_id), "query/profile", wanted)
        return {
            name: answer[name] for name in ("displayname", "avatar_url") if _is_short_text(answer.get(name))
        }

    async def hierarchy(self, server: str, room_id: str, *, suggested_only: bool) -> JsonObject:
        """`room`, `children`, `inaccessible_children` as the server gives them, lists bounded."""
        suggested = "true" if suggested_only else "false"
        answer = await self._get(server, f"hierarchy/{part(room_id)}", [("suggested_only", suggested)])
        room = answer.get("room")
        if not isinstance(room, dict) or room.get("room_id") != room_id:
            raise PeerError(f"{server} describes another room than {room_id}")
        children = [one for one in listed(answer, "children", MAX_CHILDREN) if isinstance(one, dict)]
        return {"room": room, "children": children}

    async def complexity(self, server: str, room_id: str) -> float:
        """How large the server says the room is, in the unit that `limit_remote_rooms` has."""
        answer = await self._peers.ask(
            server, "GET", f"{UNSTABLE}/rooms/{part(room_id)}/complexity", timeout=COMPLEXITY_SECONDS
        )
        told = answer.get("v1")
        if isinstance(told, bool) or not isinstance(told, int | float):
            raise PeerError(f"{server} does not say how complex {room_id} is")
        return float(told)

    async def _get(self, server: str, path: str, query: Sequence[tuple[str, str]]) -> JsonObject:
        return await self._peers.ask(server, "GET", f"{V1}/{path}?{urlencode(query)}")


def _is_short_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and "\0" not in value
