"""Processes, and who runs the background tasks."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from synapse_lite.config.options import Options
from synapse_lite.config.units import DAY, SECOND, Duration

MAIN = "main"
_MAIN_APP = "synapse.app.homeserver"
_WORKER_APPS = frozenset(
    f"synapse.app.{name}"
    for name in (
        "appservice",
        "client_reader",
        "event_creator",
        "federation_reader",
        "federation_sender",
        "frontend_proxy",
        "generic_worker",
        "media_repository",
        "pusher",
        "synchrotron",
        "user_dir",
    )
) | {"synapse_lite"}


def _names(value: Any) -> Any:
    match value:
        case None:
            return (MAIN,)
        case str():
            return (value,)
        case _:
            return value


class TaskOptions(Options):
    concurrency: int = Field(default=2, ge=1, description="Steps that one process runs at the same time.")
    lease: Annotated[Duration, Field(ge=SECOND)] = Field(
        default=15 * SECOND,
        description="How long a process owns a task without a sign of life; afterwards another takes over.",
    )
    retention: Duration = Field(
        default=7 * DAY, description="How long finished tasks are kept for the admin API."
    )
    step_target: Annotated[Duration, Field(ge=1)] = Field(
        default=200, description="How long one step should take; the size of its batch follows."
    )


class WorkerOptions(Options):
    """Processes and background tasks"""

    worker_app: str | None = Field(
        default=None,
        description="In a worker's file: synapse.app.generic_worker (or one of Synapse's older names), or "
        "synapse_lite. Absent in the main process.",
    )
    worker_name: str = Field(
        default=MAIN,
        validate_default=True,
        description="Unique name of a worker. main is the main process.",
    )
    worker_pid_file: Path | None = Field(default=None, description="File that gets the worker's process id.")
    worker_daemonize: bool = Field(default=False, description="Run the worker in the background.")
    worker_log_config: Path | None = Field(
        default=None, description="As log_config, for a worker, in the worker's file."
    )
    audit_log_retention_period: Duration | None = Field(
        default=365 * DAY,
        description="How long it is kept what administrators changed through the admin API; null: for ever.",
    )
    run_background_tasks_on: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(
        default=(MAIN,),
        min_length=1,
        description="The process that runs background tasks, or a list of them: they share the tasks.",
    )
    media_instance_running_background_jobs: str | None = Field(
        default=None,
        description="The process that looks after the files of media, where only it has them; those that run "
        "background tasks when null.",
    )
    pusher_instances: tuple[str, ...] = Field(
        default=(),
        description="The processes that push; those that run background tasks when empty.",
    )
    start_pushers: bool = Field(
        default=True,
        description="The old way: false leaves it to workers whose worker_app is synapse.app.pusher.",
    )
    tasks: TaskOptions = Field(
        default=TaskOptions(), description="The task engine (an option of synapse-lite)."
    )

    @field_validator("worker_app")
    @classmethod
    def _known_app(cls, app: str | None) -> str | None:
        if app == _MAIN_APP:
            return None
        if app is not None and app not in _WORKER_APPS:
            raise ValueError(f"should be one of {', '.join(sorted(_WORKER_APPS))}")
        return app

    @field_validator("worker_name")
    @classmethod
    def _fits_app(cls, name: str, info: ValidationInfo) -> str:
        is_worker = info.data.get("worker_app") is not None
        if is_worker and name == MAIN:
            raise ValueError("is required in a worker, and main is reserved for the main process")
        if not is_worker and name != MAIN and "worker_app" in info.data:
            raise ValueError("is for workers only, and worker_app is absent")
        return name

    @property
    def is_worker(self) -> bool:
        return self.worker_app is not None

    @property
    def runs_background_tasks(self) -> bool:
        return self.worker_name in self.run_background_tasks_on

    @property
    def task_runners(self) -> frozenset[str]:
        """The processes that run tasks, all or some."""
        keeper = self.media_instance_running_background_jobs
        return frozenset(self.run_background_tasks_on) | ({keeper} if keeper else set())
