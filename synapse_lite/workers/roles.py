"""What a process does: a value made from the configuration. No module outside `workers/` knows its role."""

from typing import Self

from attrs import frozen

from synapse_lite.config.listeners import Listener
from synapse_lite.config.model import Config


@frozen
class Role:
    """`name` is `main` or the worker's; any role may serve any route and write any event."""

    name: str
    listeners: tuple[Listener, ...]
    runs_tasks: bool
    sends_to_servers: bool

    @property
    def serves_clients(self) -> bool:
        return any({"client", "federation"} & listener.resource_names for listener in self.listeners)

    @classmethod
    def of(cls, config: Config) -> Self:
        senders = config.federation_sender_instances
        runs_tasks = config.runs_background_tasks
        return cls(
            config.worker_name,
            config.effective_listeners,
            runs_tasks,
            config.worker_name in senders if senders else runs_tasks,
        )
