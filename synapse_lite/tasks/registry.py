"""What this process can run: explicit, and fixed before the scheduler starts."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from attrs import frozen

from synapse_lite.errors import SynapseLiteError
from synapse_lite.storage.tasks import Capability
from synapse_lite.tasks.specs import C, P, TaskSpec, TransactionalTask

Stores = TypeVar("Stores")


class RegistryError(SynapseLiteError):
    """Registered twice, too late, or not at all."""


@frozen
class Binding(Generic[Stores]):
    """One line of the catalogue: a task, and how to build what runs it."""

    spec: TaskSpec[Any, Any]
    build: Callable[[Stores], TransactionalTask[Any, Any]]


@frozen
class Registered:
    """A task, and what runs it here."""

    spec: TaskSpec[Any, Any]
    handler: TransactionalTask[Any, Any]


class TaskRegistry:
    """Handlers by (action, version)."""

    def __init__(self) -> None:
        self._registered: dict[Capability, Registered] = {}
        self._frozen = False

    def register(self, spec: TaskSpec[P, C], handler: TransactionalTask[P, C]) -> None:
        """`RegistryError` after `freeze`, or for a second handler of the same action and version."""
        key = (spec.action, spec.version)
        if self._frozen:
            raise RegistryError(f"{spec.action}/{spec.version} is registered after the scheduler was built")
        if key in self._registered:
            raise RegistryError(f"{spec.action}/{spec.version} is registered twice")
        self._registered[key] = Registered(spec, handler)

    def register_all(self, bindings: Iterable[Binding[Stores]], stores: Stores) -> None:
        for binding in bindings:
            self.register(binding.spec, binding.build(stores))

    def freeze(self) -> "TaskRegistry":
        self._frozen = True
        return self

    def capabilities(self) -> frozenset[Capability]:
        return frozenset(self._registered)

    def get(self, action: str, version: int) -> Registered:
        """`RegistryError` when it is not registered here."""
        try:
            return self._registered[action, version]
        except KeyError:
            raise RegistryError(f"{action}/{version} is not registered here") from None
