"""The program `synapse-lite`: its commands, and what their exit codes mean."""

import click

from synapse_lite.cli.commands import Commands, Place
from synapse_lite.cli.exits import Exit

_EXIT_CODES = "\b\nExit codes:\n" + "\n".join(f"  {code.value:<3}  {code.meaning}" for code in Exit)

PLACES = (
    Place("up", "synapse_lite.cli.up", "up", "Run the whole server on this machine."),
    Place("demo", "synapse_lite.cli.demo", "demo", "Redact all messages of a spammer, and prove it."),
    Place("main", "synapse_lite.cli.server", "main_process", "Run the main process."),
    Place("worker", "synapse_lite.cli.server", "worker_process", "Run a worker."),
    Place(
        "generate-config",
        "synapse_lite.cli.generate_config",
        "generate_config",
        "Print a configuration with every option and its meaning.",
    ),
    Place(
        "register-user",
        "synapse_lite.cli.register_user",
        "register_user",
        "Register a user with the shared secret of the configuration.",
    ),
    Place(
        "export-user",
        "synapse_lite.cli.export_user",
        "export_user",
        "Write all that the server keeps of a user into a directory.",
    ),
    Place(
        "import-media",
        "synapse_lite.cli.import_media",
        "import_media",
        "Take over the media of a Synapse.",
    ),
    Place(
        "import-synapse",
        "synapse_lite.cli.import_synapse",
        "import_synapse",
        "Take over the users, sessions, keys and rooms of a Synapse.",
    ),
    Place("migrate", "synapse_lite.cli.server", "migrate_database", "Bring the database schema up to date."),
    Place("tasks", "synapse_lite.cli.tasks", "tasks", "See the server's long-running work, and control it."),
    Place("rooms", "synapse_lite.cli.rooms", "rooms", "Find rooms, look at them, shut them down."),
    Place("reports", "synapse_lite.cli.reports", "reports", "See what users have reported."),
    Place("users", "synapse_lite.cli.users", "users", "See users, make, change and erase them."),
    Place("media", "synapse_lite.cli.media", "media", "See, quarantine and delete files."),
    Place(
        "audit", "synapse_lite.cli.audit", "audit", "See what administrators have changed, and read of rooms."
    ),
    Place("redact", "synapse_lite.cli.redact", "redact", "Redact what a user has sent."),
    Place(
        "doctor",
        "synapse_lite.cli.doctor",
        "doctor",
        "Check the configuration, the database, the processes and the tasks.",
    ),
    Place("version", "synapse_lite.cli.version", "version", "Print the version."),
)


@click.group(
    cls=Commands,
    places=PLACES,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def main() -> None:
    """A Matrix homeserver that reads Synapse's configuration."""
