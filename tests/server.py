"""A server in the process of the test: the features of production, a real database, HTTP without a socket."""

import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock
from synapse_lite.config.model import Config
from synapse_lite.federation.peers import PeerError, Peers
from synapse_lite.http.client import Reply
from synapse_lite.http.router import Route
from synapse_lite.http.site import Site
from synapse_lite.ids import random_text
from synapse_lite.matrix.signing import SigningKey, generate_signing_key
from synapse_lite.replication.bus import Bus, LocalBus
from synapse_lite.storage.accounts import NewAccount, create_account
from synapse_lite.storage.database import Database
from synapse_lite.workers.core import build_core
from synapse_lite.workers.feature import start_all, stop_all
from synapse_lite.workers.features import FEATURES, Build, build_features
from synapse_lite.workers.infrastructure import Infrastructure
from tests.builders import CHEAP_HASHER, SERVER
from tests.contract import checking as contract
from tests.http.memory import Answer, Connection, ManualClock, site

CLIENT = "/_matrix/client/v3"
PASSWORD = "secret"
OPEN = {"enable_registration": True, "enable_registration_without_verification": True}
GENEROUS = {"per_second": 1000, "burst_count": 1000}
GENEROUS_LIMITS: dict[str, Any] = {
    "rc_registration": GENEROUS,
    "rc_login": dict.fromkeys(("address", "account"), GENEROUS),
    "rc_message": GENEROUS,
    "rc_joins": {"local": GENEROUS, "remote": GENEROUS},
    "rc_joins_per_room": GENEROUS,
    "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), GENEROUS),
    "rc_room_creation": GENEROUS,
    "rc_reports": GENEROUS,
    "rc_key_uploads": GENEROUS,
    "rc_presence": {"per_user": GENEROUS},
    "rc_federation": {"sleep_limit": 10_000, "reject_limit": 10_000, "concurrent": 1000},
}


class TickingManualClock(ManualClock):
    """Moves by hand, and a millisecond at each look, so that no two events are the same."""

    def __init__(self) -> None:
        super().__init__()
        self._looks = 0

    def now_ms(self) -> int:
        self._looks += 1
        return 1_700_000_000_000 + super().now_ms() + self._looks


class NoPeers:
    """No other server can be reached."""

    async def ask(self, destination: str, *_question: Any, **_limits: Any) -> dict[str, Any]:
        raise PeerError(f"{destination} cannot be reached")

    @asynccontextmanager
    async def open(self, destination: str, *_question: Any, **_limits: Any) -> AsyncIterator[Reply]:
        raise PeerError(f"{destination} cannot be reached")
        yield  # for the type

    def open_url(self, url: str, **_limits: Any) -> AbstractAsyncContextManager[Reply]:
        return self.open(url)


class TestServer:
    """One process on a started `database`, which tells it of its commits.

    `options` are those of homeserver.yaml; unless given rate limits are generous, and everybody may publish rooms. Several servers are several
    processes: give each a pool of its own, and one bus to all.
    """

    __test__ = False  # nothing for pytest to collect

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock | None = None,
        bus: Bus | None = None,
        peers: Peers | None = None,
        signing_key: SigningKey | None = None,
        features: Sequence[Build] = FEATURES,
        **options: Any,
    ) -> None:
        self._media = Path(tempfile.gettempdir()) / f"media-{random_text(12)}"
        self.config = Config.model_validate(
            {
                "server_name": SERVER,
                "database": {"name": "psycopg2", "args": {}},
                "media_store_path": str(self._media),
                **GENEROUS_LIMITS,
                "room_list_publication_rules": [{"action": "allow"}],
                **options,
            }
        )
        self.database = database
        self.clock: Any = clock or TickingManualClock()
        self.bus = bus or LocalBus()
        self.name = self.config.server_name
        self.signing_key = signing_key or generate_signing_key(self.name)
        self.core = build_core(self._infrastructure(peers), self.config, self.signing_key, follows=True)
        self.features = build_features(self.core, features)
        self._site = self._build_site()

    async def start(self) -> None:
        await self.core.start()
        await start_all(life for feature in self.features for life in feature.lives)

    async def stop(self) -> None:
        await stop_all(life for feature in self.features for life in feature.lives)
        await self.core.stop()
        shutil.rmtree(self._media, ignore_errors=True)

    @property
    def routes(self) -> list[Route]:
        return [route for feature in self.features for route in feature.routes]

    def add_routes(self, routes: Iterable[Route]) -> None:
        self._site = self._build_site(routes)

    # Asking

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        has_own_shape: bool = False,
    ) -> Answer:
        """A path without a leading slash is one of the client API, v3. A body of bytes is sent as it is.

        `has_own_shape`: a stored filter asks for another than the specification's.
        """
        answer = await exchange(self._site, method, path, body, token, headers)
        target = path if path.startswith("/") else f"{CLIENT}/{path}"
        if not has_own_shape:
            contract.check(method, target, answer.status, answer.headers.get("Content-Type", ""), answer.body)
        return answer

    async def ok(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """The body of an answer that must be 200."""
        answer = await self.call(method, path, body, token)
        assert answer.status == 200, answer.body
        return answer.json()

    async def refusal(
        self, method: str, path: str, body: Any = None, token: str | None = None
    ) -> tuple[int, str]:
        """Status and `errcode`."""
        answer = await self.call(method, path, body, token)
        return answer.status, answer.json().get("errcode")

    # Users and rooms

    async def register(self, name: str, **more: Any) -> str:
        """The token of a new user, by the endpoint of that name; the password is `PASSWORD`."""
        body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}, **more}
        token: str = (await self.ok("POST", "register", body))["access_token"]
        return token

    async def user(self, name: str, **more: Any) -> str:
        """The token of a new user without a password, whether registration is open or not."""
        account = NewAccount(f"@{name}:{self.name}", self.clock.now_ms(), **more)
        await self.database.transact(create_account, account)
        return (await self.core.accounts.access_tokens.open(account.user_id)).token

    async def make_admin(self, user_id: str) -> None:
        """Before they are first asked for: nobody is told."""
        await self.database.transact(
            lambda txn: txn.execute("UPDATE users SET is_admin = true WHERE user_id = %s", (user_id,))
        )

    async def room(self, token: str, **body: Any) -> str:
        """The path of a new public room."""
        made = await self.ok("POST", "createRoom", {"preset": "public_chat", **body}, token)
        return f"rooms/{made['room_id']}"

    def _infrastructure(self, peers: Peers | None) -> Infrastructure:
        return Infrastructure(
            reactor=reactor,
            clock=self.clock,
            metrics=CollectorRegistry(),
            requests=self.database,
            sending=self.database,
            writing=self.database,
            tasks=self.database,
            bus=self.bus,
            lives=(),
            password_hasher=CHEAP_HASHER,
            peers=peers or NoPeers(),
        )

    def _build_site(self, more: Iterable[Route] = ()) -> Site:
        return site([*self.routes, *more], self.core.authenticator, clock=self.clock)


def path_part(text: str) -> str:
    return quote(text, safe="")


def user_path(name: str, rest: str) -> str:
    return f"user/{path_part(f'@{name}:{SERVER}')}/{rest}"


async def exchange(
    server: Site,
    method: str,
    path: str,
    body: Any,
    token: str | None,
    more: Mapping[str, str] | None = None,
) -> Answer:
    """The answer, once it is complete; a path without a leading slash is one of the client API, v3."""
    connection = Connection(server)
    answered: Deferred[None] = Deferred()

    def on_write() -> None:
        if not answered.called and _is_complete(method, connection.transport.value()):
            answered.callback(None)

    connection.transport.on_write = on_write
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {**(more or {}), **({} if token is None else {"Authorization": f"Bearer {token}"})}
    connection.request(method, path if path.startswith("/") else f"{CLIENT}/{path}", data, headers)
    await answered
    return connection.answer()


def _is_complete(method: str, data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    if method == "HEAD" or head.split()[1:2] in ([b"204"], [b"304"]):
        return bool(found)
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(found) and (not lengths or len(body) >= int(lengths[0].partition(b":")[2]))
