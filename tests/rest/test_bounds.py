"""What one user can make the server keep, and hold in memory for one answer."""

from pytest_twisted import ensureDeferred

from synapse_lite.handlers import account_data, aliases
from synapse_lite.handlers.history import PAGE_BYTES
from tests.server import TestServer, path_part, user_path

TOO_LARGE = (413, "M_TOO_LARGE")


@ensureDeferred
async def test_pages_have_a_budget_of_bytes(server: TestServer) -> None:
    """However many events are asked for: page by page all of them come, each once, in both directions."""
    alice = await server.user("alice")
    room = await server.room(alice)
    sent = []
    for number in range(90):
        body = {"msgtype": "m.text", "body": "x" * 60_000}
        answer = await server.ok("PUT", f"{room}/send/m.room.message/{number}", body, alice)
        sent.append(answer["event_id"])
    for direction, expected in (("b", sent[::-1]), ("f", sent)):
        found, token, pages = [], "", 0
        while True:
            query = f"{room}/messages?dir={direction}&limit=1000&from={token}"
            answer = await server.call("GET", query, None, alice)
            assert len(answer.body) < PAGE_BYTES + 100_000
            page = answer.json()
            pages += 1
            found += [event["event_id"] for event in page["chunk"] if event["type"] == "m.room.message"]
            if "end" not in page:
                break
            token = page["end"]
        assert found == expected
        assert pages > 1
    middle = path_part(sent[45])
    answer = await server.call("GET", f"{room}/context/{middle}?limit=1000", None, alice)
    assert len(answer.body) < PAGE_BYTES + 200_000
    context = answer.json()
    before = [event["event_id"] for event in context["events_before"]]
    after = [event["event_id"] for event in context["events_after"]]
    assert before == sent[45 - len(before) : 45][::-1]
    assert after == sent[46 : 46 + len(after)]
    older = await server.ok("GET", f"{room}/messages?dir=b&limit=1&from={context['start']}", None, alice)
    assert older["chunk"][0]["event_id"] == sent[44 - len(before)]
    newer = await server.ok("GET", f"{room}/messages?dir=f&limit=1&from={context['end']}", None, alice)
    assert newer["chunk"][0]["event_id"] == sent[46 + len(after)]


@ensureDeferred
async def test_account_data_has_a_quota(server: TestServer, monkeypatch) -> None:
    """What goes beyond it changes nothing, and less than before is always allowed."""
    monkeypatch.setattr(account_data, "MAX_BYTES", 10_000)
    monkeypatch.setattr(account_data, "MAX_CONTENTS", 5)
    token = await server.user("alice")

    def path(name: str) -> str:
        return user_path("alice", f"account_data/{name}")

    assert await server.ok("PUT", path("a"), {"x": "x" * 9000}, token) == {}
    assert await server.refusal("PUT", path("b"), {"x": "x" * 2000}, token) == TOO_LARGE
    assert (await server.refusal("GET", path("b"), None, token))[0] == 404
    assert await server.ok("PUT", path("a"), {}, token) == {}
    for name in "bcde":
        await server.ok("PUT", path(name), {}, token)
    assert await server.refusal("PUT", path("f"), {}, token) == TOO_LARGE


@ensureDeferred
async def test_tags_of_a_room_are_bounded(server: TestServer, monkeypatch) -> None:
    """Together they are one content."""
    monkeypatch.setattr(account_data, "MAX_CONTENT_BYTES", 1000)
    token = await server.user("alice")
    room = await server.room(token)
    path = user_path("alice", f"{room}/tags/u.")
    assert await server.ok("PUT", f"{path}a", {"x": "x" * 600}, token) == {}
    assert await server.refusal("PUT", f"{path}b", {"x": "x" * 600}, token) == TOO_LARGE


@ensureDeferred
async def test_filters_are_bounded(server: TestServer, monkeypatch) -> None:
    """The same one again is none more."""
    monkeypatch.setattr(account_data, "MAX_FILTERS", 2)
    token = await server.user("alice")
    path = user_path("alice", "filter")
    for limit in (1, 2, 1):
        await server.ok("POST", path, {"room": {"timeline": {"limit": limit}}}, token)
    assert await server.refusal("POST", path, {"room": {"timeline": {"limit": 3}}}, token) == TOO_LARGE
    await server.ok("POST", path, {"room": {"timeline": {"limit": 2}}}, token)


@ensureDeferred
async def test_aliases_are_bounded(server: TestServer, monkeypatch) -> None:
    """By who made them; administrators may have more."""
    monkeypatch.setattr(aliases, "MAX_OF_USER", 1)
    token, admin = await server.user("alice"), await server.user("admin", is_admin=True)
    room = (await server.room(token)).removeprefix("rooms/")

    def path(name: str) -> str:
        return f"directory/room/{path_part(f'#{name}:hs.test')}"

    assert await server.ok("PUT", path("a"), {"room_id": room}, token) == {}
    assert await server.refusal("PUT", path("b"), {"room_id": room}, token) == (403, "M_FORBIDDEN")
    await server.ok("POST", f"rooms/{room}/join", {}, admin)
    for name in "bc":
        await server.ok("PUT", path(name), {"room_id": room}, admin)
