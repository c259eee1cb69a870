"""Checks of the task engine: who is alive, who is missing, and what nobody can run."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from synapse_lite.cli.doctor.findings import Finding, error, ok, warning
from synapse_lite.cli.output import ago, duration
from synapse_lite.storage.tasks import FollowerState, PassedOver, Runner, Unserved


def check_runners(
    runners: Sequence[Runner], seen: Mapping[str, int], named: Collection[str], now_ms: int
) -> Iterator[Finding]:
    """`seen`: when each process that has ever run tasks was last known to; `named`: those who are to.

    Times are those of the database's clock.
    """
    alive = {runner.name for runner in runners if runner.alive}
    if alive:
        running = sum(runner.active for runner in runners if runner.alive)
        yield ok("runners", f"alive: {_names(alive)}; tasks running: {running}")
    else:
        yield error("runners", "no process runs tasks: all of them wait", f"start {_names(named)}")
    absent = ({runner.name for runner in runners} | set(named) & set(seen)) - alive
    if absent:
        yield warning(
            "runners",
            f"not running now: {_names(absent)}",
            "start them again, or take them out of run_background_tasks_on",
            [f"{name}: last seen {ago(seen[name], now_ms)}" for name in sorted(absent)],
        )
    if strange := alive - set(named):
        yield warning(
            "runners",
            f"not named in the configuration, but running tasks: {_names(strange)}",
            "give all processes the same run_background_tasks_on",
        )
    if never := set(named) - set(seen):
        yield error(
            "runners",
            f"named to run tasks, but never seen: {_names(never)}",
            "start a process with this worker_name, or correct the name",
            [f"seen: {_names(seen) or 'nobody'}"],
        )


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


def check_followers(followers: Sequence[FollowerState]) -> Iterator[Finding]:
    """Who reads the stream behind those who write it, and who does not come along."""
    stopped = [follower for follower in followers if follower.lag and not follower.owner_alive]
    failing = [follower for follower in followers if follower.error]
    if not (stopped or failing):
        slowest = max((follower.lag for follower in followers), default=0)
        yield ok("followers", f"all follow the stream; the slowest is {slowest} changes behind")
    if stopped:
        yield warning(
            "followers",
            f"nobody runs them: {_names(_title(follower) for follower in stopped)}; the stream is trimmed no further",
            "resume them (PUT /_synapse/admin/v1/task_followers/NAME), or start a process that is able to run them",
            [f"{_title(f)}: {f.lag} changes behind{', paused' if f.paused else ''}" for f in stopped],
        )
    if failing:
        yield error(
            "followers",
            f"they fail: {_names(_title(follower) for follower in failing)}",
            "look into the log of their runner; they are tried again",
            [f"{_title(f)}: {f.error}, {f.attempt} times, {f.lag} changes behind" for f in failing],
        )


def check_passed_over(count: int, newest: Sequence[PassedOver], now_ms: int) -> Iterator[Finding]:
    """Changes of the last week that are in no index, no push and no queue, as they could not be read."""
    if count:
        yield warning(
            "followers",
            f"{count} changes were passed over in the last week, as they failed each time",
            "look into the log, and mend what is named; what has to be made up for is said in docs/tasks.md",
            [
                f"{one.follower}/{one.shard}, {ago(one.passed_ts, now_ms)}: {one.event_id or one.position}"
                f"{f' in {one.room_id}' if one.room_id else ''}: {one.error}"
                for one in newest
            ],
        )


def _title(follower: FollowerState) -> str:
    return f"{follower.name}/{follower.shard}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _describe(entry: Unserved, now_ms: int) -> str:
    if entry.last_seen_runner is None or entry.last_seen_at_ms is None:
        known = "no process has ever been able to run it"
    else:
        known = f"{entry.last_seen_runner} could, {ago(entry.last_seen_at_ms, now_ms)}"
    waiting = duration(now_ms - entry.oldest_run_at_ms)
    return f"{entry.action} v{entry.version}: {entry.count}, the oldest for {waiting}; {known}"
