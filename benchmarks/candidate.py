"""The server under test: synapse_lite as main and workers for its tasks."""

import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.processes import Process, free_port
from benchmarks.server import Server, Site, Worker, listener

WORKERS = ("background1", "background2")


def candidate(site: Site) -> Server:
    """Of its two workers one runs; the second only while a scenario asks for it."""
    program = [sys.executable, "-m", "synapse_lite"]
    config = {**site.homeserver_yaml(), "run_background_tasks_on": list(WORKERS)}
    homeserver = site.write("homeserver.yaml", config)

    def worker(name: str) -> Worker:
        port = free_port()
        settings = {
            "worker_app": "synapse.app.generic_worker",
            "worker_name": name,
            "worker_listeners": [listener(port)],
        }
        own = site.write(f"{name}.yaml", settings)
        command: list[str | Path] = [*program, "worker", "-c", homeserver, "-c", own]
        return Worker(Process(name, command, site.directory), port)

    main: list[str | Path] = [*program, "main", "-c", homeserver]
    return Server(
        f"synapse_lite {version('synapse-lite')} (main and background1)",
        site,
        Process("main", main, site.directory),
        [worker(name) for name in WORKERS],
        least_workers=1,
    )
