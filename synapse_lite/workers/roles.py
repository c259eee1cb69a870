"""What a process does: a value made from the configuration. No module outside `workers/` knows its role."""

from collections.abc import Collection, Iterator
from typing import Self

from attrs import frozen

from synapse_lite.config.listeners import Listener
from synapse_lite.config.model import Config
from synapse_lite.tasks.actions.media_cleanup import AUDIT_MEDIA, CLEAN_MEDIA
from synapse_lite.tasks.registry import Catalogue

_FILE_TASKS = (AUDIT_MEDIA, CLEAN_MEDIA)
"""Those that look at the files of media."""
_PUSHER, _SENDER, _MEDIA = (
    f"synapse.app.{name}" for name in ("pusher", "federation_sender", "media_repository")
)


@frozen
class Role:
    """`name` is `main` or the worker's; any role may serve any route and write any event, except for media.

    `keeps_files`: of the tasks, it runs those that look at the files of media.
    """

    name: str
    listeners: tuple[Listener, ...]
    runs_tasks: bool
    keeps_files: bool
    sends_to_servers: bool
    pushes: bool
    serves_media: bool

    @property
    def serves_clients(self) -> bool:
        return any({"client", "federation"} & listener.resource_names for listener in self.listeners)

    def tasks(self, catalogue: Catalogue) -> Catalogue:
        """Those that it runs."""
        wanted = {True: self.keeps_files, False: self.runs_tasks}
        return tuple(entry for entry in catalogue if wanted[entry.spec in _FILE_TASKS])

    @classmethod
    def of(cls, config: Config) -> Self:
        keeper = config.media_instance_running_background_jobs
        return cls(
            config.worker_name,
            config.effective_listeners,
            config.runs_background_tasks,
            config.runs_background_tasks if keeper is None else config.worker_name == keeper,
            _has_duty(config, config.federation_sender_instances, _SENDER, is_usual=config.send_federation),
            _has_duty(config, config.pusher_instances, _PUSHER, is_usual=config.start_pushers),
            config.enable_media_repo or config.worker_app == _MEDIA,
        )


def _has_duty(config: Config, named: Collection[str], app: str, *, is_usual: bool) -> bool:
    """Whether it is this process's: it is `named`, or nobody is. Those of that `app` have it, and unless not `is_usual` who runs tasks.

    An `app` of its own says so enough: the option that takes the duty off the others may be in their file only.
    """
    if named:
        return config.worker_name in named
    return config.worker_app == app or (is_usual and config.runs_background_tasks)


def duties_elsewhere(config: Config) -> Iterator[str]:
    """What other processes do for this one, and which: to be told at start."""
    role = Role.of(config)
    senders, pushers = config.federation_sender_instances, config.pusher_instances
    if not role.runs_tasks:
        yield f"background tasks ({_option('run_background_tasks_on', config.run_background_tasks_on)})"
    if not role.keeps_files and (keeper := config.media_instance_running_background_jobs):
        yield f"tasks that look at files of media ({_option('media_instance_running_background_jobs', [keeper])})"
    if not role.sends_to_servers and (senders or not config.send_federation):
        yield f"sending to other servers ({_option('federation_sender_instances', senders, _SENDER)})"
    if not role.pushes and (pushers or not config.start_pushers):
        yield f"pushing ({_option('pusher_instances', pushers, _PUSHER)})"
    if not role.serves_media:
        yield f"serving media (enable_media_repo: false; workers of {_MEDIA})"


def _option(name: str, processes: Collection[str], app: str = "") -> str:
    return f"{name}: {', '.join(processes)}" if processes else f"workers of {app}"
