"""Where servers are: by their names, by what they say, by DNS."""

import random
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, fail, succeed
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSServerError

from synapse_lite.federation.discovery import Discovery, Location
from synapse_lite.federation.services import DnsServices, NoServiceError, Service, in_order
from tests.http.memory import ManualClock

FED, OLD = "_matrix-fed._tcp.", "_matrix._tcp."


class Delegating:
    """What hosts say of themselves; `asked` is who was asked."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def delegated(self, host: str) -> str | None:
        self.asked.append(host)
        return self.names.get(host)


class Resolver:
    """`twisted.names`, as far as it is used; an answer is a list of (priority, weight, port, target), or an error."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def lookupService(self, name: str, timeout: Any) -> "Deferred[Any]":  # noqa: N802
        self.asked.append(name)
        answer = self.answers.get(name, DNSNameError(name))
        if isinstance(answer, Exception):
            return fail(answer)
        records = [
            dns.RRHeader(name, dns.SRV, payload=dns.Record_SRV(*record, ttl=100), ttl=100)
            for record in answer
        ]
        return succeed((records, [], []))


def discovery(
    delegations: dict[str, str] | None = None, answers: dict[str, Any] | None = None
) -> tuple[Discovery, Delegating, Resolver, ManualClock]:
    delegating, resolver, clock = Delegating(delegations or {}), Resolver(answers or {}), ManualClock()
    return Discovery(delegating, DnsServices(resolver), clock), delegating, resolver, clock


@pytest.mark.parametrize(
    ("name", "delegations", "answers", "location"),
    [
        ("192.0.2.1", {}, {}, Location((("192.0.2.1", 8448),), "192.0.2.1", "192.0.2.1")),
        ("192.0.2.1:1", {}, {}, Location((("192.0.2.1", 1),), "192.0.2.1", "192.0.2.1:1")),
        ("[2001:db8::1]", {}, {}, Location((("2001:db8::1", 8448),), "2001:db8::1", "[2001:db8::1]")),
        ("[2001:db8::1]:5", {}, {}, Location((("2001:db8::1", 5),), "2001:db8::1", "[2001:db8::1]:5")),
        ("localhost:5", {"localhost": "no.test"}, {}, Location((("localhost", 5),), "localhost", "localhost:5")),
        ("a.test", {}, {}, Location((("a.test", 8448),), "a.test", "a.test")),
        ("a.test", {"a.test": "192.0.2.7"}, {}, Location((("192.0.2.7", 8448),), "192.0.2.7", "192.0.2.7")),
        ("a.test", {"a.test": "b.test:6"}, {}, Location((("b.test", 6),), "b.test", "b.test:6")),
        ("a.test", {"a.test": "b.test"}, {}, Location((("b.test", 8448),), "b.test", "b.test")),
        (
            "a.test",
            {"a.test": "b.test"},
            {FED + "b.test": [(0, 0, 7, "c.test")], OLD + "b.test": [(0, 0, 8, "d.test")]},
            Location((("c.test", 7),), "b.test", "b.test"),
        ),
        ("a.test", {}, {OLD + "a.test": [(0, 0, 8, "d.test")]}, Location((("d.test", 8),), "a.test", "a.test")),
        (
            "a.test",
            {},
            {FED + "a.test": [], OLD + "a.test": [(0, 0, 8, "d.test")]},
            Location((("d.test", 8),), "a.test", "a.test"),
        ),
        (
            "a.test",
            {},
            {FED + "a.test": [(9, 0, 9, "last.test"), (1, 5, 1, "first.test")]},
            Location((("first.test", 1), ("last.test", 9)), "a.test", "a.test"),
        ),
    ],
)  # fmt: skip
@ensureDeferred
async def test_where_servers_are(
    name: str, delegations: dict[str, str], answers: dict[str, Any], location: Location
) -> None:
    """Each step of the specification: what is connected to, whom the certificate names, the Host header."""
    looking, _, _, _ = discovery(delegations, answers)
    assert await looking.locate(name) == location
    assert await looking.locate(name) == location  # from memory, all of it


@pytest.mark.parametrize("error", [DNSServerError(), TimeoutError(), OSError("no network")])
@ensureDeferred
async def test_name_servers_that_fail(error: Exception) -> None:
    """The usual port of the name is tried, and the name servers are asked again the next time."""
    looking, _, resolver, _ = discovery(answers={FED + "a.test": error})
    assert (await looking.locate("a.test")).targets == (("a.test", 8448),)
    resolver.answers[FED + "a.test"] = [(0, 0, 7, "c.test")]
    assert (await looking.locate("a.test")).targets == (("c.test", 7),)


@ensureDeferred
async def test_a_service_that_is_decidedly_not_there() -> None:
    """The root as a target ends the search: neither the old service nor the usual port is tried."""
    looking, _, _, _ = discovery(
        answers={FED + "a.test": [(0, 0, 0, "")], OLD + "a.test": [(0, 0, 8, "d.test")]}
    )
    with pytest.raises(NoServiceError):
        await looking.locate("a.test")


@ensureDeferred
async def test_places_are_remembered_for_a_while() -> None:
    """As long as DNS says, in bounds; whoever found nobody there has them looked up again."""
    looking, delegating, resolver, clock = discovery(answers={FED + "a.test": [(0, 0, 7, "c.test")]})
    for advance, lookups in ((0, 1), (99, 1), (1.5, 2)):
        clock.advance(advance)
        await looking.locate("a.test")
        assert len(resolver.asked) == len(delegating.asked) == lookups
    looking.forget("a.test")
    await looking.locate("a.test")
    assert len(resolver.asked) == 3


def test_weights() -> None:
    """Within a priority the heavier come first more often; none is left out."""
    services = [
        Service(host, 1, 0, weight, 60) for host, weight in (("heavy", 90), ("light", 10), ("none", 0))
    ]
    dice = random.Random(7)
    orders = [[service.host for service in in_order(services, dice)] for _ in range(500)]
    assert all(sorted(order) == ["heavy", "light", "none"] for order in orders)
    firsts = [order[0] for order in orders]
    assert 400 < firsts.count("heavy") < 480
    assert firsts.count("none") < firsts.count("light")
