"""The configured retention, as the values that the layers below work with."""

from synapse_lite.config.retention import RetentionOptions
from synapse_lite.matrix.retention import LifetimeRange, RetentionPolicy
from synapse_lite.tasks.actions.expired_messages import RetentionJob


def retention_policy(options: RetentionOptions) -> RetentionPolicy | None:
    """None where messages are kept for ever."""
    if not options.enabled:
        return None
    return RetentionPolicy(
        options.default_policy.max_lifetime, options.allowed_lifetime_min, options.allowed_lifetime_max
    )


def retention_jobs(options: RetentionOptions) -> tuple[RetentionJob, ...]:
    return tuple(
        RetentionJob(LifetimeRange(job.shortest_max_lifetime, job.longest_max_lifetime), job.interval)
        for job in options.effective_jobs
    )
