"""/search over HTTP: which words clients are told to mark."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.matrix import words
from tests.rest.talk import Talk
from tests.server import TestServer


@ensureDeferred
async def test_words_stand_as_in_the_text(server: TestServer) -> None:
    """Each once, whatever its case; what no result of the page has, as it is compared."""
    alice, bob = await server.user("alice"), await server.user("bob")
    talk = Talk(server, alice, bob, await server.room(alice))
    await talk.say("Straße KETTLE ﾀﾜｰ")
    await talk.say("kettle, Kettles")
    await talk.index()
    for term, expected in {
        "strasse": ["Straße"],
        "kett": ["kettle", "Kettles"],
        "タワー kettle": ["KETTLE", "ﾀﾜｰ"],
        "strasse Nothing": ["strasse", "nothing"],
    }.items():
        answer = await talk.search(term, order_by="recent")
        assert sorted(answer["highlights"]) == sorted(expected), term


@ensureDeferred
async def test_what_many_results_say_is_looked_at_once(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten results cost what one does, when all of them say the same."""
    alice, bob = await server.user("alice"), await server.user("bob")
    talk = Talk(server, alice, bob, await server.room(alice))
    for _ in range(10):
        await talk.say("the kettle whistles")
    await talk.index()
    looked_at: list[str] = []
    normalised = words.normalised

    def spy(text: str) -> str:
        looked_at.append(text)
        return normalised(text)

    monkeypatch.setattr(words, "normalised", spy)
    numbers = []
    for limit in (1, 10):
        looked_at.clear()
        answer = await talk.search("kettle", filter={"limit": limit})
        assert (len(answer["results"]), answer["highlights"]) == (limit, ["kettle"])
        numbers.append(len(looked_at))
    assert numbers[0] == numbers[1] > 0
