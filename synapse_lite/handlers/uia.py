"""User-interactive authentication (client-server API, "User-Interactive Authentication API")."""

from collections.abc import Awaitable, Callable, Sequence

import attrs

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, bad_json, forbidden, invalid_param, missing_param
from synapse_lite.handlers.login import Name, named_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.ids import random_text
from synapse_lite.storage import access_tokens, uia
from synapse_lite.storage.database import Database
from synapse_lite.storage.registration_tokens import find_token, hold_token
from synapse_lite.storage.uia import SESSION_LIFETIME_MS, UiaSession

DUMMY = "m.login.dummy"
PASSWORD = "m.login.password"  # noqa: S105 (the name of a stage)
TERMS = "m.login.terms"
REGISTRATION_TOKEN = "m.login.registration_token"  # noqa: S105 (the name of a stage)
SESSION_LETTERS = 24
MAX_TEXT = 512

PAGES = frozenset({DUMMY, REGISTRATION_TOKEN, TERMS})
"""Stages that can be done on a page of this server."""

Flow = tuple[str, ...]
CheckPassword = Callable[[Name, str], Awaitable[str]]
"""The user id behind a name or an address and a password; raises `MatrixError`."""


@attrs.frozen
class Challenge:
    """What the user must still prove: the body of a 401 answer."""

    session_id: str
    flows: Sequence[Flow]
    completed: frozenset[str]
    error: MatrixError | None = None
    params: JsonObject = attrs.field(factory=dict)

    def body(self) -> JsonObject:
        stages = dict.fromkeys(stage for flow in self.flows for stage in flow)
        failure = {"errcode": self.error.errcode, "error": self.error.message} if self.error else {}
        return {
            "session": self.session_id,
            "flows": [{"stages": list(flow)} for flow in self.flows],
            "params": {name: self.params[name] for name in stages if name in self.params},
            "completed": sorted(self.completed),
            **failure,
        }


@attrs.frozen
class Proof:
    """All that was asked for is proved: in which session, if in one, and with which registration token, where one was asked for."""

    session_id: str | None
    registration_token: str | None


class InteractiveAuth:
    """Asks for proofs before an operation.

    A session is bound to its operation and stores the names of the stages that are done, and the registration
    token: no passwords. `policies` are the parameters of the stage `TERMS`. `remembered_ms`: for so long a proof holds for
    operations that are not dangerous.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        check_password: CheckPassword,
        policies: JsonObject | None = None,
        remembered_ms: int = 0,
    ) -> None:
        self._remembered_ms = remembered_ms
        self._params = {} if policies is None else {TERMS: policies}
        self._database = database
        self._clock = clock
        self._check_password = check_password

    async def check(
        self,
        operation: str,
        auth: JsonObject | None,
        flows: Sequence[Flow],
        *,
        user_id: str | None = None,
        lacks: str | None = None,
    ) -> Challenge | None:
        """None when the operation may go on, once; as `prove`."""
        proof = await self.prove(operation, auth, flows, user_id=user_id, lacks=lacks)
        if isinstance(proof, Challenge):
            return proof
        session_id = proof.session_id
        if session_id and not await self._database.transact(uia.delete_uia_session, session_id):
            raise unknown_session(session_id)
        return None

    async def check_lately(
        self, operation: str, auth: JsonObject | None, flows: Sequence[Flow], requester: Requester
    ) -> Challenge | None:
        """As `check` of the requester, whose proof with the same access token, or log-in, is remembered for a while.

        Who speaks for them as a service has proved it by its token.
        """
        if requester.service is not None:
            return None
        token_nid, now_ms = requester.token_nid, self._clock.now_ms()
        if not self._remembered_ms or token_nid is None:
            return await self.check(operation, auth, flows, user_id=requester.user_id)
        if await self._database.read(access_tokens.has_proved, token_nid, now_ms - self._remembered_ms):
            return None
        challenge = await self.check(operation, auth, flows, user_id=requester.user_id)
        if challenge is None:
            await self._database.transact(access_tokens.note_proof, token_nid, now_ms)
        return challenge

    async def prove(
        self,
        operation: str,
        auth: JsonObject | None,
        flows: Sequence[Flow],
        *,
        user_id: str | None = None,
        lacks: str | None = None,
    ) -> Challenge | Proof:
        """A proof when one of the `flows` is complete: the operation may go on, and uses the session up in its transaction.

        `operation` says what is asked for and by whom: "register", "delete device ABC of @user:server".
        `auth` is the field of that name in the body. `user_id` is who must be proved by a password. `lacks` names a
        parameter without which the operation cannot go on: it is asked for before the session is used up.

        Raises 400 for an `auth` that cannot be read, a session that does not exist or is bound to
        another operation, a stage that nobody asked for, what the body lacks; 429 for too many wrong passwords.
        """
        if auth is None:
            return await self._begin(operation, flows, None)
        session_id, stage = _text(auth, "session") or None, _text(auth, "type")
        session = None if session_id is None else await self._find(session_id, operation)
        completed = session.completed if session else frozenset()
        token = session.registration_token if session else None
        if stage is not None:
            failure = await self._try(stage, auth, flows, user_id, completed)
            if failure is not None:
                return await self._begin(operation, flows, session, failure)
            completed |= {stage}
            if stage == REGISTRATION_TOKEN and token is None:
                token = _text(auth, "token")
        if not any(completed.issuperset(flow) for flow in flows):
            return await self._continue(operation, flows, session, stage, token)
        if lacks is not None:
            raise missing_param(lacks)
        return Proof(session.session_id if session else None, token)

    async def registered(self, operation: str, auth: JsonObject | None) -> str | None:
        """The id of the user whom the session has made already: their answer was lost. Raises as `prove`."""
        session_id = None if auth is None else _text(auth, "session") or None
        return None if session_id is None else (await self._find(session_id, operation)).registered

    @property
    def policies(self) -> JsonObject | None:
        """The terms, as the parameters of their stage; None: there are none."""
        return self._params.get(TERMS)

    async def check_page(self, stage: str, session_id: str) -> None:
        """404 `M_UNRECOGNIZED` for a stage that is not one of `PAGES`, 400 `M_UNKNOWN` for an unknown session."""
        if stage not in PAGES or (stage == TERMS and self.policies is None):
            raise MatrixError(404, Errcode.UNRECOGNIZED, "There is no page for this authentication type")
        session = await self._find(session_id, None)
        if session.registered is not None:
            raise unknown_session(session_id)

    async def complete(self, stage: str, session_id: str, token: str | None) -> MatrixError | None:
        """Do one of `PAGES`; the client then sends its request again with the session alone.

        Why it is not done, or None. `token` is what was entered where a registration token is asked for; a use of
        it is the session's from now on. Raises as `check_page`.
        """
        await self.check_page(stage, session_id)
        if stage == REGISTRATION_TOKEN:
            return None if await self._hold(token or "", session_id) else invalid_token()
        await self._database.transact(uia.add_completed_stage, session_id, stage)
        return None

    async def _try(
        self,
        stage: str,
        auth: JsonObject,
        flows: Sequence[Flow],
        user_id: str | None,
        completed: frozenset[str],
    ) -> MatrixError | None:
        """Why the proof is not accepted, or None. A session that holds a token's last use may bring the token again."""
        if not any(stage in flow for flow in flows):
            raise invalid_param("Unknown authentication type")
        if stage in {DUMMY, TERMS}:
            return None
        if stage == REGISTRATION_TOKEN:
            token = _required_text(auth, "token")
            return None if stage in completed else await self._try_token(token)
        if stage != PASSWORD:
            raise invalid_param("Unsupported authentication type")
        try:
            proved = await self._check_password(
                named_user(auth, _required_text), _required_text(auth, "password")
            )
        except MatrixError as error:
            if error.status in (401, 403):
                return error
            raise
        return None if proved == user_id else forbidden("Invalid username or password")

    async def _try_token(self, token: str) -> MatrixError | None:
        """Whether it is good now; whoever registers uses it up."""
        now_ms = self._clock.now_ms()
        found = await self._database.read(find_token, token, now_ms)
        return None if found and found.is_valid(now_ms) else invalid_token()

    async def _begin(
        self,
        operation: str,
        flows: Sequence[Flow],
        session: UiaSession | None,
        failure: MatrixError | None = None,
    ) -> Challenge:
        """A challenge in the session, or in a new one."""
        if session is not None:
            return Challenge(session.session_id, flows, session.completed, failure, self._params)
        session_id = random_text(SESSION_LETTERS)
        await self._database.transact(
            uia.create_uia_session,
            session_id,
            operation,
            self._clock.now_ms(),
            lifetime_ms=SESSION_LIFETIME_MS,
        )
        return Challenge(session_id, flows, frozenset(), failure, self._params)

    async def _continue(
        self,
        operation: str,
        flows: Sequence[Flow],
        session: UiaSession | None,
        stage: str | None,
        token: str | None,
    ) -> Challenge:
        challenge = await self._begin(operation, flows, session)
        if stage is None:
            return challenge
        if stage == REGISTRATION_TOKEN:
            if not await self._hold(token or "", challenge.session_id):
                return attrs.evolve(challenge, error=invalid_token())
        else:
            await self._database.transact(uia.add_completed_stage, challenge.session_id, stage)
        return attrs.evolve(challenge, completed=challenge.completed | {stage})

    async def _hold(self, token: str, session_id: str) -> bool:
        """Whether a use of the token is the session's until somebody registers in it."""
        now_ms = self._clock.now_ms()
        return await self._database.transact(hold_token, token, session_id, REGISTRATION_TOKEN, now_ms)

    async def _find(self, session_id: str, operation: str | None) -> UiaSession:
        """None: whatever it is bound to."""
        session = await self._database.read(
            uia.find_uia_session, session_id, self._clock.now_ms(), lifetime_ms=SESSION_LIFETIME_MS
        )
        if session is None:
            raise unknown_session(session_id)
        if operation not in (None, session.operation):
            raise forbidden("Requested operation has changed during the UI authentication session.")
        return session


def invalid_token() -> MatrixError:
    return MatrixError(401, Errcode.UNAUTHORIZED, "Invalid registration token")


def unknown_session(session_id: str) -> MatrixError:
    return MatrixError(400, Errcode.UNKNOWN, f"Unknown session ID: {session_id[:80]}")


def _text(auth: JsonObject, name: str) -> str | None:
    value = auth.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_TEXT or "\0" in value:
        raise bad_json(f"Invalid 'auth.{name}'")
    return value


def _required_text(auth: JsonObject, name: str) -> str:
    value = _text(auth, name)
    if value is None:
        raise MatrixError(400, Errcode.MISSING_PARAM, f"Missing 'auth.{name}'")
    return value
