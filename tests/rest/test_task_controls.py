"""The admin API of tasks: who runs them, followers, and how they are held back."""

from threading import Event

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.tasks.queue import TOPIC, ActionState
from tests.rest.office import ADMIN, NOOP_ACTION, Office


@ensureDeferred
async def test_runners(office: Office) -> None:
    """Who lives and who died, what each can run, and what nobody can."""
    await office.register("w#1")
    await office.register("v#1")
    await office.ask()
    await office.claim("w#1")
    await office.execute("UPDATE task_runners SET expires_at = now_ms() - 1 WHERE name = 'v'")
    await office.execute("INSERT INTO task_actions_seen VALUES ('other', 2, 'old', 1)")
    await office.ask()
    await office.execute(
        "UPDATE scheduled_tasks SET action = 'other', version = 2, run_at = 5 WHERE owner IS NULL"
    )
    answer = await office.get(f"{ADMIN}/task_runners")
    dead, living = answer["runners"]
    assert set(living) == {"name", "runner", "alive", "started_ts", "expires_ts", "running", "actions"}
    assert (dead["name"], dead["alive"], dead["running"]) == ("v", False, 0)
    assert (living["runner"], living["alive"], living["running"]) == ("w#1", True, 1)
    assert living["actions"] == [{"action": "noop", "version": 1}]
    assert answer["unserved"] == [
        {"action": "other", "version": 2, "count": 1, "oldest_ts": 5, "last_seen_runner": "old"}
    ]


@ensureDeferred
async def test_followers(office: Office) -> None:
    """Who follows the stream, how far, and who holds it up; a follower is paused and resumed."""
    await office.register()
    await office.execute(
        "INSERT INTO followers (name, shard, position, owner, seen_at, updated_at)"
        " SELECT 'ahead', 0, position, 'w#1', 1, 7 FROM stream_position"
        " UNION ALL SELECT 'behind', 0, position - 1, NULL, 1, 7 FROM stream_position"
    )
    ahead, behind = (await office.get(f"{ADMIN}/task_runners"))["followers"]
    position = ahead.pop("position")
    assert ahead == {
        "name": "ahead",
        "shard": 0,
        "runner": "w#1",
        "alive": True,
        "lag": 0,
        "slowest": False,
        "paused": False,
        "attempt": 0,
        "error": None,
        "updated_ts": 7,
    }
    assert (behind["position"], behind["lag"], behind["slowest"]) == (position - 1, 1, True)
    assert (behind["runner"], behind["alive"]) == (None, False)
    path = f"{ADMIN}/task_followers/ahead"
    for paused in (True, False):
        (shown,) = (await office.put({"paused": paused}, path))["followers"]
        assert (shown["name"], shown["paused"]) == ("ahead", paused)
    assert await office.refusal("PUT", f"{ADMIN}/task_followers/none", {"paused": True}) == (
        404,
        "M_NOT_FOUND",
    )
    assert await office.refusal("PUT", path, {"paused": "yes"}) == (400, "M_BAD_JSON")
    assert await office.refusal("PUT", path, {}) == (400, "M_MISSING_PARAM")


@ensureDeferred
async def test_actions(office: Office) -> None:
    """What is known about each action; a change of one setting leaves the other, and wakes schedulers."""
    await office.register()
    await office.ask()
    await office.ask()
    await office.claim()
    state = {
        "action": "noop",
        "versions": [1],
        "paused": False,
        "max_running": None,
        "pending": 1,
        "active": 1,
        "runnable_by": ["w"],
    }
    assert await office.get(f"{ADMIN}/task_actions") == {"actions": [state]}
    wake_ups: list[str] = []
    office.server.bus.subscribe(TOPIC, wake_ups.append)
    assert await office.put({"max_running": 2}) == {**state, "max_running": 2}
    assert wake_ups
    assert await office.put({"paused": True}) == {**state, "paused": True, "max_running": 2}
    assert await office.put({"max_running": None}) == {**state, "paused": True}
    assert await office.put({}) == {**state, "paused": True}
    assert await office.get(NOOP_ACTION) == {**state, "paused": True}


@ensureDeferred
async def test_two_changes_at_once_both_hold(office: Office) -> None:
    """Whoever pauses while another one sets a limit has paused."""
    await office.register()
    begun, paused = Event(), Event()

    def limit_slowly(state: ActionState) -> tuple[bool, int | None]:
        begun.set()
        paused.wait(1)  # in vain, when the other one waits for this
        return state.paused, 2

    limiting = Deferred.fromCoroutine(office.queue.control("noop", limit_slowly))
    await deferToThread(begun.wait, 300)
    await office.put({"paused": True})
    paused.set()
    await limiting
    shown = await office.get(NOOP_ACTION)
    assert (shown["paused"], shown["max_running"]) == (True, 2)


@ensureDeferred
async def test_controls_are_checked(office: Office) -> None:
    """No limit below one, no other types, no actions that nobody knows."""
    await office.register()
    for body in (
        {"max_running": 0},
        {"max_running": "2"},
        {"max_running": 2**40},
        {"paused": 1},
        {"paused": None},
    ):
        assert await office.refusal("PUT", NOOP_ACTION, body) == (400, "M_BAD_JSON")
    unknown = f"{ADMIN}/task_actions/unknown"
    assert await office.refusal("PUT", unknown, {"paused": True}) == (404, "M_NOT_FOUND")
    assert await office.refusal("GET", unknown) == (404, "M_NOT_FOUND")
