"""What a process can run is explicit and fixed."""

import pkgutil
from importlib import import_module

import pytest
from attrs import evolve

from synapse_lite.tasks import actions, periodic
from synapse_lite.tasks.actions.noop import NOOP, Noop
from synapse_lite.tasks.registry import CATALOGUE, Binding, RegistryError, TaskRegistry
from synapse_lite.tasks.specs import TaskSpec


def test_handlers_by_action_and_version() -> None:
    """Versions of an action are separate; what is missing is an error."""
    registry = TaskRegistry()
    bindings = [Binding(NOOP, lambda _: Noop()), Binding(evolve(NOOP, version=2), lambda _: Noop())]
    registry.register_all(bindings, None)
    assert registry.capabilities() == {("noop", 1), ("noop", 2)}
    assert registry.get("noop", 2).spec.version == 2
    with pytest.raises(RegistryError):
        registry.get("noop", 3)


def test_a_second_handler_is_refused() -> None:
    """One handler per action and version."""
    registry = TaskRegistry()
    registry.register(NOOP, Noop())
    with pytest.raises(RegistryError):
        registry.register(NOOP, Noop())


def test_nothing_is_registered_after_the_start() -> None:
    """A frozen registry refuses."""
    with pytest.raises(RegistryError):
        TaskRegistry().freeze().register(NOOP, Noop())


def test_every_task_is_in_the_catalogue() -> None:
    """Whatever spec an action defines has one line, and each (action, version) is there once."""
    names = [name for _, name, _ in pkgutil.iter_modules(actions.__path__)]
    modules = [periodic, *(import_module(f"{actions.__name__}.{name}") for name in names)]
    defined = {
        (value.action, version)
        for module in modules
        for value in vars(module).values()
        if isinstance(value, TaskSpec)
        for version in value.versions
    }
    bound = [
        (binding.spec.action, version)
        for binding in CATALOGUE
        if isinstance(binding, Binding)
        for version in binding.spec.versions
    ]
    assert set(bound) == defined
    assert len(bound) == len(set(bound))
