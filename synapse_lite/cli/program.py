"""The program `synapse-lite`: its commands, and what their exit codes mean."""

import click

from synapse_lite.cli.demo import demo
from synapse_lite.cli.doctor import doctor
from synapse_lite.cli.exits import Exit, explained
from synapse_lite.cli.generate_config import generate_config
from synapse_lite.cli.redact import redact
from synapse_lite.cli.register_user import register_user
from synapse_lite.cli.server import main_process, migrate_database, worker_process
from synapse_lite.cli.tasks import tasks
from synapse_lite.cli.up import up
from synapse_lite.cli.version import version

_EXIT_CODES = "\b\nExit codes:\n" + "\n".join(f"  {code.value}  {code.meaning}" for code in Exit)


@click.group(
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def main() -> None:
    """A Matrix homeserver that reads Synapse's configuration."""


for command in (
    up,
    demo,
    main_process,
    worker_process,
    generate_config,
    register_user,
    migrate_database,
    tasks,
    redact,
    doctor,
    version,
):
    main.add_command(explained(command))
