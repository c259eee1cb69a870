"""What must be so in the engine: tasks and processes, as a model of them knows them."""

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define, field
from psycopg2 import extensions

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import Capability, Lease, Status

T = TypeVar("T")


@define
class Row:
    """A task, as it must be."""

    id: str
    capability: Capability
    priority: int
    unique_key: str | None
    lock_key: str | None
    is_due: bool
    status: Status = Status.SCHEDULED
    owner: str | None = None
    epoch: int = 0
    items: int = 0
    has_cursor: bool = False
    cancelled: bool = False

    @property
    def is_pending(self) -> bool:
        return self.status in (Status.SCHEDULED, Status.ACTIVE)


@define
class Process:
    """One that runs tasks; `runner` is its present incarnation, `running` what it believes to work on."""

    name: str
    capabilities: list[Capability]
    connection: extensions.connection
    runner: str = ""
    incarnations: int = 0
    is_alive: bool = False
    running: list[Lease] = field(factory=list)
    step: Lease | None = None

    def do(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """In a transaction of its own."""
        with self.connection, self.connection.cursor() as cursor:
            return function(Transaction(cursor), *args, **kwargs)
