"""The server under test: synapse_lite as main and workers for its tasks."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.processes import Process, free_port
from benchmarks.server import Server, Site, Worker, listener

WORKERS = ("background1", "background2")
SINGLE = ("single1", "single2")
"""Workers that run one step at a time, instead of two."""


def own_program() -> list[str]:
    """The command that runs the code beside this file, wherever the environment was installed from."""
    return ["env", f"PYTHONPATH={Path(__file__).parent.parent}", sys.executable, "-m", "synapse_lite"]


def candidate(site: Site) -> Server:
    """Of its workers the first one runs; others only while a scenario asks for them."""
    program = own_program()
    metrics_port = free_port()
    config = {
        **site.homeserver_yaml(),
        "run_background_tasks_on": [*WORKERS, *SINGLE],
        "enable_metrics": True,
    }
    config["listeners"].append(listener(metrics_port, "metrics"))
    homeserver = site.write("homeserver.yaml", config)

    def worker(name: str) -> Worker:
        port = free_port()
        settings = {
            "worker_app": "synapse.app.generic_worker",
            "worker_name": name,
            "worker_listeners": [listener(port)],
            "tasks": {"concurrency": 1 if name in SINGLE else 2},
        }
        own = site.write(f"{name}.yaml", settings)
        command: list[str | Path] = [*program, "worker", "-c", homeserver, "-c", own]
        return Worker(Process(name, command, site.directory), port)

    def seed(events: int, members: int) -> str:
        sizes = ["--events", str(events), "--members", str(members)]
        command = [sys.executable, "-m", "benchmarks.seed_room", "-c", homeserver, *sizes]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]

    def add_messages(rooms: Mapping[str, str], texts: Sequence[str]) -> None:
        command = [sys.executable, "-m", "benchmarks.seed_messages", "-c", homeserver]
        subprocess.run(command, check=True, input=json.dumps({"rooms": rooms, "texts": texts}), text=True)

    main: list[str | Path] = [*program, "main", "-c", homeserver]
    return Server(
        f"synapse_lite {version('synapse-lite')} (main and background1)",
        site,
        Process("main", main, site.directory),
        [worker(name) for name in (*WORKERS, *SINGLE)],
        usual=WORKERS[:1],
        seed=seed,
        add_messages=add_messages,
        metrics_port=metrics_port,
    )
