"""Publishing our keys, and those of others as a notary (server-server API, "Retrieving server keys")."""

from collections.abc import Mapping, Sequence
from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import bad_json, invalid_param
from synapse_lite.federation.keyring import Keyring
from synapse_lite.ids import is_server_name
from synapse_lite.matrix.server_keys import RetiredKey, write_key_answer
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.storage import server_keys
from synapse_lite.storage.database import Database

MAX_SERVERS = 100


class ServerKeys:
    """`refresh_ms`: how long others may keep our keys."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        clock: Clock,
        signing_key: SigningKey,
        retired: Sequence[RetiredKey],
        refresh_ms: int,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._signing_key = signing_key
        self._retired = retired
        self._refresh_ms = refresh_ms

    def own(self) -> JsonObject:
        return write_key_answer(self._signing_key, self._retired, self._clock.now_ms() + self._refresh_ms)

    async def query(self, wanted: Mapping[str, int]) -> JsonObject:
        """The keys of servers, by name until when they should be valid (milliseconds); each answer signed by us, too.

        What is known is given, also when it is not valid for so long and nothing better can be had. Servers of
        which nothing is known are left out.
        """
        if len(wanted) > MAX_SERVERS:
            raise invalid_param(f"At most {MAX_SERVERS} servers may be asked about at once")
        now = self._clock.now_ms()
        others = [name for name in wanted if name != self._signing_key.server_name]
        known = await self._database.read(server_keys.find_answers, others)
        await self._keyring.refresh(
            [name for name in others if name not in known or known[name][0] < max(wanted[name], now)]
        )
        known = await self._database.read(server_keys.find_answers, others)
        answers = [self._vouch(known[name][1]) for name in others if name in known]
        if len(others) < len(wanted):
            answers.append(self.own())
        return {"server_keys": answers}

    def _vouch(self, answer: JsonObject) -> JsonObject:
        key = self._signing_key
        signatures = {**answer["signatures"], key.server_name: {key.key_id: key.sign(answer)}}
        return {**answer, "signatures": signatures}


def read_query(body: JsonObject) -> dict[str, int]:
    """What `POST /_matrix/key/v2/query` asks for; 400 `M_BAD_JSON`, `M_INVALID_PARAM`."""
    servers = body.get("server_keys")
    if not isinstance(servers, dict):
        raise bad_json("'server_keys' must be an object")
    return {_checked(name): _latest(criteria) for name, criteria in servers.items()}


def _checked(name: str) -> str:
    if not is_server_name(name):
        raise invalid_param(f"Not a server name: {name[:80]!r}")
    return name


def _latest(criteria: Any) -> int:
    if not isinstance(criteria, dict) or not all(isinstance(one, dict) for one in criteria.values()):
        raise bad_json("The keys of a server must be an object of objects")
    times = [one.get("minimum_valid_until_ts", 0) for one in criteria.values()]
    if not all(isinstance(time, int) and not isinstance(time, bool) for time in times):
        raise bad_json("'minimum_valid_until_ts' must be an integer")
    return max(times, default=0)
