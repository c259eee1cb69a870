"""Asking push gateways, and leaving alone those that do not answer."""

import random
from enum import Enum

import orjson
from attrs import define, field, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock, doubling_pause
from synapse_lite.http.client import HttpClient, RequestError
from synapse_lite.matrix.push_gateway import rejected_keys

TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 1024
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 3600.0
TOO_MANY_REQUESTS = 429
REMEMBERED = 10_000  # gateways that failed


class Outcome(Enum):
    PUSHED = "the gateway has it"
    REJECTED = "the gateway does not know the key any more"
    FAILED = "it is to be tried again later"


@define
class _Trouble:
    failures: int = 0
    until: float = 0.0  # monotonic


@frozen
class Gateways:
    """A gateway that fails is asked again after a pause that doubles, whoever has something for it."""

    http: HttpClient
    clock: Clock
    _troubles: dict[str, _Trouble] = field(factory=dict)

    def pause(self, url: str) -> float:
        """For how many seconds nothing is sent there."""
        trouble = self._troubles.get(url)
        return 0.0 if trouble is None else max(0.0, trouble.until - self.clock.monotonic())

    async def notify(self, url: str, pushkey: str, body: JsonObject) -> Outcome:
        try:
            async with self.http.request(
                "POST",
                url,
                timeout=TIMEOUT_SECONDS,
                headers={"content-type": "application/json"},
                body=orjson.dumps(body),
                is_repeatable=True,  # who gets an event twice shows it once
            ) as reply:
                answer = await reply.read(MAX_ANSWER_BYTES)
                status, retry_after = reply.status, reply.headers.get("retry-after", "")
        except RequestError:
            return self._failed(url)
        if not 200 <= status < 300:  # noqa: PLR2004 (the statuses of success)
            asked = float(retry_after) if status == TOO_MANY_REQUESTS and retry_after.isdecimal() else 0.0
            return self._failed(url, asked)
        self._troubles.pop(url, None)
        return Outcome.REJECTED if pushkey in rejected_keys(_decoded(answer)) else Outcome.PUSHED

    def _failed(self, url: str, at_least: float = 0.0) -> Outcome:
        if len(self._troubles) >= REMEMBERED:
            self._troubles.pop(next(iter(self._troubles)))
        trouble = self._troubles.setdefault(url, _Trouble())
        if trouble.until <= self.clock.monotonic():  # several were on their way: that is one failure
            pause = doubling_pause(FIRST_PAUSE_SECONDS, trouble.failures, LONGEST_PAUSE_SECONDS)
            trouble.failures += 1
            jitter = random.uniform(1.0, 1.3)  # noqa: S311 (nothing secret)
            trouble.until = self.clock.monotonic() + min(LONGEST_PAUSE_SECONDS, max(pause * jitter, at_least))
        return Outcome.FAILED


def _decoded(answer: bytes) -> object:
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
