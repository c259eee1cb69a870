"""Tasks of other packages: entry points of the group `synapse_lite.tasks` (docs/tasks.md)."""

import logging
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from synapse_lite.tasks.registry import Binding, RegistryError, TaskRegistry, TaskStores

logger = logging.getLogger(__name__)

GROUP = "synapse_lite.tasks"


def register_packages(registry: TaskRegistry, stores: TaskStores) -> None:
    """Register the bindings of every installed package. One that fails is logged, and left out whole."""
    for entry_point in entry_points(group=GROUP):
        package = entry_point.dist.name if entry_point.dist else entry_point.value
        try:
            bindings = _load(entry_point)
            registry.register_all(bindings, stores)
        except Exception:
            logger.exception("the tasks of package %s cannot be used", package)
        else:
            names = ", ".join(f"{binding.spec.action}/{binding.spec.version}" for binding in bindings)
            logger.info("tasks of package %s: %s", package, names)


def _load(entry_point: EntryPoint) -> list[Binding]:
    """The entry point names one binding, or several."""
    loaded = entry_point.load()
    bindings = list(loaded) if isinstance(loaded, Iterable) else [loaded]
    for binding in bindings:
        if not isinstance(binding, Binding):
            raise RegistryError(f"{entry_point.value} holds a {type(binding).__name__}, not a Binding")
    return bindings
