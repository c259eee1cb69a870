"""Push gateways that refuse, fail, ask for patience, or close their connections."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.handlers.push.gateway import LONGEST_PAUSE_SECONDS, Gateways, Outcome
from synapse_lite.http.client import RequestError
from tests.gateway import Answer, Body, accept
from tests.http.memory import ManualClock
from tests.rest.push.phone import Phone


@ensureDeferred
async def test_rejected_keys(phone: Phone) -> None:
    """A pusher whose key the gateway rejects is gone; one that was set anew meanwhile stays."""
    rejects = True

    def answer(_body: Body) -> Answer:
        return 200, {"rejected": ["key", "other"] if rejects else []}, {}

    phone.gateway.answer = answer
    await phone.say()
    await phone.heard()
    while await phone.pushers():
        pass
    await phone.set()
    rejects = False
    await phone.say("new")
    assert (await phone.heard())["content"]["body"] == "new"
    assert len(await phone.pushers()) == 1


@ensureDeferred
async def test_a_gateway_by_an_address_in_brackets(phone: Phone) -> None:
    """It is told like others."""
    url = phone.gateway.url.replace("127.0.0.1", "[::ffff:127.0.0.1]")
    await phone.set(data={"url": url})
    await phone.say("hello")
    assert (await phone.heard())["content"]["body"] == "hello"


@ensureDeferred
async def test_a_gateway_that_fails(phone: Phone) -> None:
    """It is left alone for a while, whatever happens meanwhile; then it gets the newest, without what is read."""
    phone.gateway.answer = lambda _: (500, {}, {})
    first = await phone.say("first")
    await phone.heard()
    await phone.settled()
    for number in range(15):
        await phone.say(str(number))
        await phone.follow()
    assert phone.gateway.requests == 1
    await phone.read(first)
    phone.gateway.answer = accept
    await phone.later(3)
    told = [(await phone.gateway.next())["content"]["body"] for _ in range(10)]
    assert told == [str(number) for number in range(5, 15)]


@ensureDeferred
async def test_a_gateway_that_asks_for_patience(phone: Phone) -> None:
    """429: as long as it says."""
    phone.gateway.answer = lambda _: (429, {}, {"Retry-After": "600"})
    await phone.say("first")
    await phone.heard()
    await phone.settled()
    phone.gateway.answer = accept
    for seconds in (60, 300):
        await phone.later(seconds)
        await phone.say(str(seconds))
        await phone.follow()
    assert phone.gateway.requests == 1
    await phone.later(500)
    assert (await phone.gateway.next())["content"]["body"] == "first"


@ensureDeferred
async def test_a_gateway_that_closes_kept_connections(phone: Phone) -> None:
    """What is sent just then is sent again at once, and nothing has failed; one that closes new ones, too, fails."""
    await phone.say("first")
    await phone.heard()
    await phone.settled()
    for closed, requests in ((1, 3), (2, 5)):
        answers: list[Answer | None] = [None] * closed
        phone.gateway.answer = lambda body, left=answers: left.pop() if left else accept(body)
        await phone.say("news")
        await phone.follow()
        assert (await phone.gateway.next())["content"]["body"] == "news"
        await phone.settled()
        assert phone.gateway.requests == requests
        await phone.gateway.next()
        assert not answers
    await phone.later(3)
    assert (await phone.gateway.next())["content"]["body"] == "news"


class NobodyThere:
    """An HTTP client whose requests all fail."""

    def request(self, *_args: Any, **_options: Any) -> Any:
        raise RequestError("nobody there")


@ensureDeferred
async def test_a_gateway_that_is_gone_for_months() -> None:
    """However often it has failed, there is a pause, and none is longer than an hour."""
    clock, http = ManualClock(), NobodyThere()
    gateways, url = Gateways(http, clock), "https://push.example/"  # type: ignore[arg-type]
    for _ in range(2000):
        assert await gateways.notify(url, "key", {}) is Outcome.FAILED
        assert 0 < gateways.pause(url) <= LONGEST_PAUSE_SECONDS
        clock.advance(LONGEST_PAUSE_SECONDS)
