"""What the task engine tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from synapse_lite.storage.tasks import Gauges

_STEP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 30)
_CLAIM_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)


class TaskMetrics:
    """Of one scheduler. The gauges are as of its last survey."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tasks = Gauge(
            "synapse_lite_tasks", "Tasks by action and status", ["action", "status"], registry=registry
        )
        self._unserved = Gauge(
            "synapse_lite_task_unserved",
            "Pending tasks that no live process is able to run",
            ["action"],
            registry=registry,
        )
        self._oldest_runnable = Gauge(
            "synapse_lite_task_oldest_runnable_seconds",
            "How long the oldest task that could run has been waiting",
            ["action"],
            registry=registry,
        )
        self.step_seconds = Histogram(
            "synapse_lite_task_step_seconds",
            "Duration of a step: one transaction",
            ["action"],
            buckets=_STEP_SECONDS,
            registry=registry,
        )
        self.claim_seconds = Histogram(
            "synapse_lite_task_claim_seconds",
            "Duration of a look for the next task",
            buckets=_CLAIM_SECONDS,
            registry=registry,
        )
        self._follower_lag = Gauge(
            "synapse_lite_follower_lag",
            "Positions of the stream that a follower has not come to yet",
            ["follower", "shard"],
            registry=registry,
        )
        self._followers_stopped = Gauge(
            "synapse_lite_followers_stopped",
            "Followers that no live process runs, or that fail, or that are paused",
            registry=registry,
        )
        self.follower_seconds = Histogram(
            "synapse_lite_follower_step_seconds",
            "Duration of a step of a follower",
            ["follower"],
            buckets=_STEP_SECONDS,
            registry=registry,
        )
        self.passed_over = Counter(
            "synapse_lite_follower_passed_over",
            "Changes that a follower failed with each time, and went on behind",
            ["follower"],
            registry=registry,
        )
        self.rows_done = Counter(
            "synapse_lite_task_rows_done", "What the steps counted as done", ["action"], registry=registry
        )
        self.lease_lost = Counter(
            "synapse_lite_task_lease_lost",
            "Tasks that this process worked on when another took them over",
            registry=registry,
        )
        self.rescued = Counter(
            "synapse_lite_task_rescued",
            "Tasks that this process took over from a dead one",
            registry=registry,
        )

    def show(self, gauges: Gauges) -> None:
        for gauge in (self._tasks, self._unserved, self._oldest_runnable, self._follower_lag):
            gauge.clear()
        for (action, status), count in gauges.counts.items():
            self._tasks.labels(action, status).set(count)
        for action, waiting_ms in gauges.waiting_ms.items():
            self._oldest_runnable.labels(action).set(waiting_ms / 1000)
        for row in gauges.unserved:
            self._unserved.labels(row.action).inc(row.count)
        for follower in gauges.followers:
            self._follower_lag.labels(follower.name, str(follower.shard)).set(follower.lag)
        self._followers_stopped.set(sum(not follower.owner_alive for follower in gauges.followers))
