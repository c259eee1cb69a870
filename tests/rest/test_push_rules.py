"""Push rules over HTTP, and in /sync."""

from typing import Any
from urllib.parse import quote

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers.push_rules import MAX_STORED_BYTES, shown_push_rules
from synapse_lite.storage.database import Transaction
from tests.builders import SERVER
from tests.server import TestServer

NAME = f"@name:{SERVER}"
GLOBAL = "pushrules/global/"
RULE = {"actions": ["notify"], "conditions": [{"kind": "room_member_count", "is": ">5"}]}


async def own_ids(server: TestServer, token: str, kind: str) -> list[str]:
    rules = (await server.ok("GET", GLOBAL, None, token))[kind]
    return [rule["rule_id"] for rule in rules if not rule["default"]]


async def news(server: TestServer, token: str, since: str | None) -> tuple[list[Any], str]:
    """The push rules in the answer to a sync, and its token."""
    answer = await server.ok("GET", f"sync?since={since}" if since else "sync", None, token)
    events = answer.get("account_data", {}).get("events", [])
    return [event["content"] for event in events if event["type"] == "m.push_rules"], answer["next_batch"]


@ensureDeferred
async def test_predefined_rules(server: TestServer) -> None:
    """All, the global ones, one of them, its parts."""
    token = await server.register("name")
    rules = shown_push_rules(NAME, None)
    assert await server.ok("GET", "pushrules/", None, token) == rules
    assert await server.ok("GET", GLOBAL, None, token) == rules["global"]
    master = GLOBAL + "override/.m.rule.master"
    assert await server.ok("GET", master, None, token) == rules["global"]["override"][0]
    assert await server.ok("GET", f"{master}/enabled", None, token) == {"enabled": False}
    assert await server.ok("GET", f"{master}/actions", None, token) == {"actions": []}
    assert await server.refusal("GET", f"{GLOBAL}override/no", None, token) == (404, "M_NOT_FOUND")
    assert await server.refusal("GET", f"{GLOBAL}odd/.m.rule.master", None, token) == (404, "M_UNRECOGNIZED")
    for path in ("pushrules/", master):
        assert await server.refusal("GET", path) == (401, "M_MISSING_TOKEN")


@ensureDeferred
async def test_own_rules_come_and_go(server: TestServer) -> None:
    """Made, placed, updated, deleted; each user has their own."""
    token, other = await server.register("name"), await server.register("other")
    for rule_id, place in (("c", ""), ("a", ""), ("b", "?after=a"), ("0", "?before=a"), ("x/y", "")):
        path = f"{GLOBAL}override/{quote(rule_id, safe='')}{place}"
        if "/" in rule_id:
            assert await server.refusal("PUT", path, RULE, token) == (400, "M_INVALID_PARAM")
        else:
            assert await server.ok("PUT", path, RULE, token) == {}
    assert await own_ids(server, token, "override") == ["0", "a", "b", "c"]
    assert await own_ids(server, other, "override") == []
    rule = {**RULE, "rule_id": "b", "default": False, "enabled": True}
    assert await server.ok("GET", f"{GLOBAL}override/b", None, token) == rule
    await server.ok("PUT", f"{GLOBAL}override/b", {"actions": []}, token)
    assert (await server.ok("GET", f"{GLOBAL}override/b", None, token))["conditions"] == []
    assert await server.ok("DELETE", f"{GLOBAL}override/a", None, token) == {}
    assert await own_ids(server, token, "override") == ["0", "b", "c"]
    assert await server.refusal("DELETE", f"{GLOBAL}override/a", None, token) == (404, "M_NOT_FOUND")
    assert await server.refusal("PUT", f"{GLOBAL}override/d?before=a", RULE, token) == (404, "M_NOT_FOUND")
    for body, errcode in (({}, "M_MISSING_PARAM"), ([], "M_BAD_JSON"), ({"actions": 1}, "M_INVALID_PARAM")):
        assert await server.refusal("PUT", f"{GLOBAL}override/d", body, token) == (400, errcode)


@ensureDeferred
async def test_rules_are_switched_and_given_actions(server: TestServer) -> None:
    """Predefined ones and own ones; the account data of the same name shows it, too."""
    token = await server.register("name")
    await server.ok("PUT", f"{GLOBAL}content/mine", {"actions": [], "pattern": "x"}, token)
    for path in (f"{GLOBAL}content/mine", f"{GLOBAL}underride/.m.rule.message"):
        await server.ok("PUT", f"{path}/enabled", {"enabled": False}, token)
        await server.ok("PUT", f"{path}/actions", {"actions": ["notify", {"set_tweak": "x"}]}, token)
        rule = await server.ok("GET", path, None, token)
        assert (rule["enabled"], rule["actions"]) == (False, ["notify", {"set_tweak": "x"}])
        for part, body in (("enabled", {"enabled": "no"}), ("actions", {"actions": "no"}), ("enabled", {})):
            assert (await server.refusal("PUT", f"{path}/{part}", body, token))[0] == 400
    for part, body in (("enabled", {"enabled": True}), ("actions", {"actions": []})):
        path = f"{GLOBAL}underride/.m.rule.unknown/{part}"
        assert await server.refusal("PUT", path, body, token) == (404, "M_NOT_FOUND")
    data = f"user/{NAME}/account_data/m.push_rules"
    assert await server.ok("GET", data, None, token) == await server.ok("GET", "pushrules/", None, token)
    assert (await server.call("PUT", data, {}, token)).status == 405


@ensureDeferred
async def test_sync_tells_of_changes(server: TestServer) -> None:
    """The first answer has the rules, a later one all of them again when one changed, and else none."""
    token = await server.register("name")
    first, since = await news(server, token, None)
    assert first == [shown_push_rules(NAME, None)]
    assert (await news(server, token, since))[0] == []
    path = f"{GLOBAL}override/.m.rule.tombstone/enabled"
    await server.ok("PUT", path, {"enabled": False}, token)
    changed, later = await news(server, token, since)
    assert changed == [await server.ok("GET", "pushrules/", None, token)]
    assert changed != first
    await server.ok("PUT", path, {"enabled": False}, token)  # as it was: nothing new
    assert (await news(server, token, later))[0] == []
    assert (await news(server, token, None))[0] == changed


@ensureDeferred
async def test_changes_at_once_are_all_kept(server: TestServer) -> None:
    """Clients of one user that change rules at the same time do not undo each other."""
    token = await server.register("name")
    puts = [server.ok("PUT", f"{GLOBAL}override/{number}", RULE, token) for number in range(20)]
    await gatherResults([Deferred.fromCoroutine(put) for put in puts])
    assert sorted(await own_ids(server, token, "override"), key=int) == [str(number) for number in range(20)]


@ensureDeferred
async def test_what_is_stored_is_bounded(server: TestServer) -> None:
    """Rules beyond the limit are refused, and leave the others as they were."""
    token = await server.register("name")
    condition = {"kind": "event_match", "key": "content.body", "pattern": "x" * 250}
    large = {"actions": ["notify"], "conditions": [condition] * 100}
    accepted = 0
    while (await server.call("PUT", f"{GLOBAL}override/{accepted}", large, token)).status == 200:
        accepted += 1
    assert accepted > MAX_STORED_BYTES // 100_000
    assert await server.refusal("PUT", f"{GLOBAL}override/more", large, token) == (413, "M_TOO_LARGE")
    assert len(await own_ids(server, token, "override")) == accepted


@ensureDeferred
async def test_an_unreadable_rule_is_skipped(server: TestServer) -> None:
    """Whatever an earlier version may have stored, the user has rules, and can change them."""
    token = await server.register("name")
    stored = '{"own": {"override": [{"rule_id": 5}, "x"]}, "changed": "x"}'

    def corrupt(txn: Transaction) -> None:
        txn.execute(
            "INSERT INTO account_data (user_id, room_nid, type, json) VALUES (%s, 0, 'm.push_rules', %s)",
            (NAME, stored),
        )

    await server.database.transact(corrupt)
    assert await server.ok("GET", "pushrules/", None, token) == shown_push_rules(NAME, None)
    await server.ok("PUT", f"{GLOBAL}override/good", RULE, token)
    assert await own_ids(server, token, "override") == ["good"]
