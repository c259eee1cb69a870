"""Tasks of other packages: found by entry point, run like our own, and harmless when broken."""

import logging
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.clock import Clock
from synapse_lite.media.directory import DirectoryStore
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.noop import NOOP, Noop
from synapse_lite.tasks.packages import GROUP, register_packages
from synapse_lite.tasks.queue import Status
from synapse_lite.tasks.registry import MediaStores, OtherServers, TaskRegistry, TaskStores
from tests.builders import SERVER, World
from tests.tasks.conftest import Engine

EXAMPLE = Path(__file__).parents[2] / "examples" / "task_package"
NOBODY: Any = None
"""Whom no task of these tests speaks with."""
ASKED = {"requester": "@admin:x", "endpoint": "POST /test"}


def stores(clock: Clock) -> TaskStores:
    world = World()
    return TaskStores(
        appender=world.appender,
        events=world.events,
        state=world.state,
        clock=clock,
        server_name=SERVER,
        media=MediaStores(DirectoryStore(Path("unused")), Path("unused")),
        others=OtherServers(NOBODY, NOBODY, NOBODY, NOBODY, NOBODY),
        task_retention_ms=1,
        redaction_retention_ms=None,
    )


def install(directory: Path, package: str, entry_point: str, source: str) -> None:
    """What pip leaves behind: the module, and what the package says about itself."""
    about = directory / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", "utf-8")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\n{package} = {entry_point}\n", "utf-8")
    (directory / f"{entry_point.partition(':')[0]}.py").write_text(source, "utf-8")


def install_example(directory: Path) -> None:
    """As its `pyproject.toml` says."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))
    (module,) = project["tool"]["setuptools"]["py-modules"]
    (entry_point,) = project["project"]["entry-points"][GROUP].values()
    source = (EXAMPLE / f"{module}.py").read_text("utf-8")
    install(directory, project["project"]["name"], entry_point, source)


@ensureDeferred
async def test_the_example_is_installed_and_runs(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package of the manual: installed, registered by its entry point, run to its end."""
    install_example(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = TaskRegistry()
    register_packages(registry, stores(engine.clock))
    assert registry.capabilities() == {("forget_devices", 1)}
    spec = registry.get("forget_devices", 1).spec

    def fill(txn: Transaction) -> None:
        txn.execute("INSERT INTO users (user_id, created_ts) VALUES ('@u:x', 1)")
        txn.execute(
            "INSERT INTO devices (user_id, device_id, created_ts, last_seen_ts) SELECT '@u:x', n::text, 1, 1"
            " FROM generate_series(1, 250) n UNION ALL VALUES ('@u:x', 'used', 1, now_ms()), ('@u:x', 'new', 1, NULL)"
        )

    await engine.database.transact(fill)
    await engine.start_all(registry)
    task = await engine.until_ended((await engine.queue.enqueue(spec, spec.params(), **ASKED)).id)
    assert (task.status, task.result, task.done) == (Status.COMPLETE, {"deleted": 250}, 250)
    left = await engine.database.read(
        lambda txn: txn.rows("SELECT device_id FROM devices ORDER BY device_id")
    )
    assert left == [("new",), ("used",)]
    await engine.execute("DELETE FROM devices; DELETE FROM users")


def test_broken_packages_are_named_and_left_out(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One cannot be imported, one holds something else, one takes a name of ours; the last one is well."""
    more = "from attrs import evolve\nfrom synapse_lite.tasks.actions.noop import NOOP, Noop\n"
    more += "from synapse_lite.tasks.registry import Binding\n"
    install(tmp_path, "unimportable", "unimportable:TASKS", "import there_is_no_such_module")
    install(tmp_path, "something_else", "something_else:TASKS", "TASKS = [1]")
    both = "BOTH = [Binding(evolve(NOOP, action='mine'), lambda s: Noop()), Binding(NOOP, lambda s: Noop())]"
    install(tmp_path, "thief", "thief:BOTH", more + both)
    install(
        tmp_path,
        "well",
        "well:TASKS",
        more + "TASKS = [Binding(evolve(NOOP, action='well', version=v), lambda s: Noop()) for v in (1, 2)]",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = TaskRegistry()
    registry.register(NOOP, Noop())
    with caplog.at_level(logging.INFO):
        register_packages(registry, stores(engine.clock))
    assert registry.capabilities() == {("noop", 1), ("well", 1), ("well", 2)}
    for package in ("unimportable", "something_else", "thief"):
        assert f"the tasks of package {package} cannot be used" in caplog.text
    assert "tasks of package well: well/1, well/2" in caplog.text
