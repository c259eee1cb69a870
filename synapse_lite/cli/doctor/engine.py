"""Checks of the task engine: who is alive, who is missing, and what nobody can run."""

from collections.abc import Collection, Iterator, Sequence

from synapse_lite.cli.doctor.findings import Finding, error, ok, warning
from synapse_lite.cli.output import ago, duration
from synapse_lite.storage.tasks import Runner, Unserved


def check_runners(runners: Sequence[Runner], named: Collection[str], now_ms: int) -> Iterator[Finding]:
    """`named` in run_background_tasks_on; `now_ms` by the database's clock."""
    alive = sorted({runner.name for runner in runners if runner.alive})
    if not alive:
        yield error(
            "runners", "no process runs tasks: all of them wait", f"start {' or '.join(sorted(named))}"
        )
    else:
        running = sum(runner.active for runner in runners if runner.alive)
        yield ok("runners", f"alive: {', '.join(alive)}; tasks running: {running}")
    dead = [runner for runner in runners if runner.name not in alive]
    if dead:
        yield warning(
            "runners",
            "some have died and not come back",
            "start them again, or take them out of run_background_tasks_on; others have taken over their tasks"
            if alive
            else "start them again; their tasks wait",
            [f"{runner.name}: no sign of life since {ago(runner.expires_at_ms, now_ms)}" for runner in dead],
        )
    if strange := sorted(set(alive) - set(named)):
        yield warning(
            "runners",
            f"not in run_background_tasks_on, but running tasks: {', '.join(strange)}",
            "give all processes the same run_background_tasks_on",
        )


def check_names(seen: Collection[str], named: Collection[str]) -> Finding:
    """`seen`: processes that have ever run tasks."""
    if never := sorted(set(named) - set(seen)):
        return error(
            "names",
            f"in run_background_tasks_on, but never seen: {', '.join(never)}",
            "start a process with this worker_name, or correct the name",
            [f"seen: {', '.join(sorted(seen)) or 'nobody'}"],
        )
    return ok("names", f"run_background_tasks_on: all have been seen: {', '.join(sorted(named))}")


def check_unserved(unserved: Sequence[Unserved], now_ms: int) -> Finding:
    if not unserved:
        return ok("tasks", "every pending task has a process that can run it")
    return error(
        "tasks",
        f"{sum(entry.count for entry in unserved)} tasks wait for a process that can run them",
        "start the process named below, or one with a version of the program that has the action; or cancel "
        "the tasks with synapse-lite tasks cancel",
        [_describe(entry, now_ms) for entry in unserved],
    )


def _describe(entry: Unserved, now_ms: int) -> str:
    if entry.last_seen_runner is None or entry.last_seen_at_ms is None:
        known = "no process has ever been able to run it"
    else:
        known = f"{entry.last_seen_runner} could, {ago(entry.last_seen_at_ms, now_ms)}"
    waiting = duration(now_ms - entry.oldest_run_at_ms)
    return f"{entry.action} v{entry.version}: {entry.count}, the oldest for {waiting}; {known}"
