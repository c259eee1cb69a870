"""A server with everything about accounts, asked over HTTP without a socket."""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.web.server import Site

from synapse_lite.config.model import Config
from synapse_lite.handlers.account_data import AccountData
from synapse_lite.handlers.auth import LastSeen, Sessions
from synapse_lite.handlers.login import LoginLimiters, Logins, PasswordChanges
from synapse_lite.handlers.passwords import Passwords
from synapse_lite.handlers.profiles import Profiles
from synapse_lite.handlers.registration import Registration, SharedSecretRegistration
from synapse_lite.handlers.uia import InteractiveAuth
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.http.router import Route
from synapse_lite.rest.admin.register import SharedSecretRegisterApi
from synapse_lite.rest.admin.server import ServerApi
from synapse_lite.rest.client.account import AccountApi
from synapse_lite.rest.client.account_data import AccountDataApi
from synapse_lite.rest.client.discovery import (
    DiscoveryApi,
    capabilities,
    client_well_known,
    fixed_profile_fields,
)
from synapse_lite.rest.client.login import LoginApi
from synapse_lite.rest.client.profile import ProfileApi
from synapse_lite.rest.client.push_rules import PushRulesApi
from synapse_lite.rest.client.register import RegisterApi
from synapse_lite.rest.gate import Gate
from synapse_lite.storage.database import Database
from synapse_lite.storage.stream import Change
from tests.http.memory import Answer, Connection, ManualClock, site

CLIENT = "/_matrix/client/v3"
OPEN = {"enable_registration": True, "enable_registration_without_verification": True}
GENEROUS = {"per_second": 1000, "burst_count": 1000}


class Home:
    """Built from options of `homeserver.yaml`; rate limits are generous unless given."""

    def __init__(self, database: Database, changes: list[Change], **options: Any) -> None:
        limits = {"rc_registration": GENEROUS, "rc_login": dict.fromkeys(("address", "account"), GENEROUS)}
        self.config = Config.model_validate(
            {"server_name": "hs.test", "database": {"name": "psycopg2", "args": {}}, **limits, **options}
        )
        self.database = database
        self._changes = changes
        self.clock = ManualClock()
        self.passwords = Passwords(
            reactor,
            pepper="",
            policy=self.config.password_config.policy,
            time_cost=1,
            memory_cost=64,
            parallelism=1,
        )
        self.sessions = Sessions(database, self.clock)
        self.last_seen = LastSeen(database, self.clock)
        self.gate = Gate(self.sessions, self.last_seen)
        self._site = self._build_site()

    def add_routes(self, routes: Iterable[Route]) -> None:
        self._site = self._build_site(routes)

    def _build_site(self, more: Iterable[Route] = ()) -> Site:
        return site([*self._routes(), *more], clock=self.clock, max_body_size=1_000_000)

    def _routes(self) -> Iterable[Route]:
        config = self.config
        well_known = client_well_known(config)
        limits = config.rc_login
        limiters = LoginLimiters(
            *(
                RateLimiter(self.clock, limit)
                for limit in (limits.address, limits.account, limits.failed_attempts)
            )
        )
        logins = Logins(self.database, self.sessions, self.passwords, limiters, config.server_name)
        auth = InteractiveAuth(self.database, self.clock, logins.check_password)
        registration = Registration(
            self.database,
            self.passwords,
            self.clock,
            options=config,
            server_name=config.server_name,
            on_registered=_ignore,
        )
        shared = SharedSecretRegistration(
            self.database, self.clock, registration, config.registration_shared_secret
        )
        enabled = config.password_config.enabled is True
        for api in (
            DiscoveryApi(self.gate, capabilities(config), well_known),
            LoginApi(self.gate, logins, self.sessions, passwords_enabled=enabled, well_known=well_known),
            RegisterApi(registration, self.sessions, auth, RateLimiter(self.clock, config.rc_registration)),
            AccountApi(
                self.gate, auth, PasswordChanges(self.database, self.passwords), passwords_enabled=enabled
            ),
            ProfileApi(
                self.gate,
                Profiles(self.database, _ignore, fixed_profile_fields(config)),
                require_token=config.require_auth_for_profile_requests,
            ),
            AccountDataApi(self.gate, AccountData(self.database)),
            PushRulesApi(self.gate),
            SharedSecretRegisterApi(shared, self.sessions),
            ServerApi(),
        ):
            yield from api.routes()

    async def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
        """A path without a leading slash is one of the client API, v3."""
        self.sessions.on_changes(self._changes)
        self._changes.clear()
        return await exchange(self._site, method, path, body, token)

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
        return answer.status, answer.json()["errcode"]

    async def register(self, name: str, **more: Any) -> str:
        """The token of a new user whose password is "secret"."""
        body = {"username": name, "password": "secret", "auth": {"type": "m.login.dummy"}, **more}
        token: str = (await self.ok("POST", "register", body))["access_token"]
        return token

    async def make_admin(self, user_id: str) -> None:
        await self.database.transact(
            lambda txn: txn.execute("UPDATE users SET is_admin = true WHERE user_id = %s", (user_id,))
        )


def user_path(name: str, rest: str) -> str:
    return f"user/{quote(f'@{name}:hs.test', safe='')}/{rest}"


async def _ignore(*_arguments: str) -> None:
    pass


async def exchange(site: Site, method: str, path: str, body: Any, token: str | None) -> Answer:
    """The answer, once it is complete; a path without a leading slash is one of the client API, v3."""
    connection = Connection(site)
    answered: Deferred[None] = Deferred()
    write = connection.transport.write

    def on_write(data: bytes) -> None:
        write(data)
        if not answered.called and _is_complete(connection.transport.value()):
            answered.callback(None)

    connection.transport.write = on_write  # type: ignore[method-assign]
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    connection.request(method, path if path.startswith("/") else f"{CLIENT}/{path}", data, headers)
    await answered
    return connection.answer()


def _is_complete(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(found) and len(body) >= int(lengths[0].partition(b":")[2])
