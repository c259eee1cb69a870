"""Asking policy servers (server-server API, "Asking for a Policy Server signature on an event")."""

from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, forbidden
from synapse_lite.federation.peers import PeerError, Peers
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.policy import PolicyServer, with_recommendation
from synapse_lite.matrix.signing import SignatureError

SIGN = "/_matrix/policy/v1/sign"
TIMEOUT_SECONDS = 10.0
MAX_ANSWER = 64 * 1024  # bytes
ATTEMPTS = 2
RETRY_SECONDS = 30.0
MAX_SILENT = 1000


class PolicyServers:
    """One that does not answer is left alone for a while: the events of its rooms do not wait one after the other."""

    def __init__(self, peers: Peers, clock: Clock) -> None:
        self._peers = peers
        self._clock = clock
        self._silent: dict[str, float] = {}

    async def sign(self, event: Event, policy: PolicyServer) -> Event:
        """The event with the signature of the policy server.

        What the server says against it; 403 `M_FORBIDDEN` where it says nothing, 502 `M_UNKNOWN` when it does not answer.
        """
        name = policy.server_name
        try:
            answer = await self._ask(event, name)
            return with_recommendation(event, policy, answer)
        except SignatureError:
            raise forbidden(f"The policy server {name} does not recommend the event") from None
        except PeerError as error:
            raise _refusal(error) from None

    async def _ask(self, event: Event, name: str) -> dict[str, object]:
        now = self._clock.monotonic()
        if self._silent.get(name, now) > now:
            raise PeerError(f"The policy server {name} has not answered a moment ago")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._peers.ask(
                    name, "POST", SIGN, event.pdu, timeout=TIMEOUT_SECONDS, max_bytes=MAX_ANSWER
                )
            except PeerError as error:
                if _is_answer(error):
                    raise
                if attempt == ATTEMPTS:
                    self._note_silence(name)
                    raise
        raise AssertionError("the last attempt ends the loop")

    def _note_silence(self, name: str) -> None:
        if len(self._silent) >= MAX_SILENT:
            self._silent.clear()
        self._silent[name] = self._clock.monotonic() + RETRY_SECONDS


def _is_answer(error: PeerError) -> bool:
    """Asking again at once would not help."""
    return error.status is not None and error.status < 500  # noqa: PLR2004


def _refusal(error: PeerError) -> MatrixError:
    if not _is_answer(error) or error.status is None or error.status < 400:  # noqa: PLR2004
        return MatrixError(502, Errcode.UNKNOWN, str(error))
    later = {} if error.retry_after_ms is None else {"retry_after_ms": error.retry_after_ms}
    return MatrixError(error.status, error.errcode or Errcode.UNKNOWN, str(error), later)
