"""Asking other servers: what the rest of the program knows of it."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import MatrixError, SynapseLiteError
from synapse_lite.federation.long_json import decode_in_turns
from synapse_lite.http.client import Reply

TIMEOUT_SECONDS = 30.0
MAX_ANSWER = 10 * 1024 * 1024  # bytes
MAX_ERROR_TEXT = 200
OK = 200
TOO_MANY_REQUESTS = 429
SERVER_FAULTS = 500  # and above


class PeerError(SynapseLiteError):
    """Another server gave no answer, or refused: then with its status and `errcode`.

    `retry_after_ms`: before that it wants no further question.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        errcode: str | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.errcode = errcode
        self.retry_after_ms = retry_after_ms

    @property
    def is_passing(self) -> bool:
        """Whether the same question may be answered another time."""
        return self.status is None or self.status == TOO_MANY_REQUESTS or self.status >= SERVER_FAULTS


class TooLargeError(PeerError):
    """The answer is larger than who asked takes; it was not read."""


class Peers(Protocol):
    async def ask(
        self,
        destination: str,
        method: str,
        target: str,
        body: JsonObject | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 (there is no asyncio)
        max_bytes: int = MAX_ANSWER,
    ) -> JsonObject:
        """The answer to a signed request; `target` is the path with its query, encoded.

        Numbers in it are as exact as they were sent. Raises `PeerError`, also for an answer that is no object;
        `TooLargeError` for one of more than `max_bytes`.
        """

    def open(
        self,
        destination: str,
        method: str,
        target: str,
        body: JsonObject | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        redirects: int = 0,
    ) -> AbstractAsyncContextManager[Reply]:
        """As `ask`, for an answer of any kind, status and size, which is read while the block lasts.

        `timeout` is for the reading, too. What breaks in the block is a `PeerError`.
        """

    def open_url(
        self,
        url: str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        redirects: int = 0,
    ) -> AbstractAsyncContextManager[Reply]:
        """As `open`, for a place to which another server has sent us: nothing is signed."""


async def read_answer(destination: str, status: int, data: bytes) -> JsonObject:
    """The object that is the answer; `PeerError` for any other, and for a status that is not 200."""
    try:
        answer = await decode_in_turns(data)
    except MatrixError:
        raise PeerError(f"{destination} answers {status}, without JSON", status) from None
    if isinstance(answer, list) and len(answer) == 2 and answer[0] == status:  # noqa: PLR2004
        answer = answer[1]  # the first versions of some endpoints wrap their answers so
    if not isinstance(answer, dict):
        raise PeerError(f"{destination} answers {status}, without a JSON object", status)
    if status != OK:
        errcode, text = (str(answer.get(key, ""))[:MAX_ERROR_TEXT] for key in ("errcode", "error"))
        later = answer.get("retry_after_ms")
        retry_after_ms = later if isinstance(later, int) and later >= 0 else None
        raise PeerError(f"{destination} answers {status} {errcode}: {text}", status, errcode, retry_after_ms)
    return answer
