"""/search over HTTP: which words clients are told to mark."""

from pytest_twisted import ensureDeferred

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
