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

    @property
    def serves_clients(self) -> bool:
        return any("client" in listener.resource_names for listener in self.listeners)

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(config.worker_name, config.effective_listeners, config.runs_background_tasks)
