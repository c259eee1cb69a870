"""The reference: Synapse from PyPI, in a virtual environment of its own."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.processes import Process, free_port, listening
from benchmarks.server import Server, Site, Worker, listener
from benchmarks.synapse_messages import add_messages
from benchmarks.synapse_rooms import copy_room

VERSION = "1.163.2"
WORKER = "background1"


def install(directory: Path) -> Path:
    """The Python that runs Synapse; the environment is made at the first run and kept."""
    environment = directory / f"synapse-{VERSION}"
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    query = "from importlib.metadata import version; import bs4; print(version('matrix-synapse'))"
    found = subprocess.run([python, "-c", query], check=False, capture_output=True, text=True)
    if found.stdout.strip() != VERSION:
        requirement = f"matrix-synapse[postgres,redis,url-preview]=={VERSION}"
        subprocess.run([python, "-m", "pip", "install", "--quiet", requirement], check=True)
    return python


def synapse(site: Site, python: Path, with_worker: bool) -> Server:
    """One process, or main with a worker for background tasks (and the Redis they need).

    Raises RuntimeError when a worker is wanted and there is no `redis-server`.
    """
    log_config = site.directory / "log.yaml"
    config = {**site.homeserver_yaml(), "log_config": str(log_config)}
    services: list[tuple[Process, Callable[[], bool]]] = []
    if with_worker:
        replication, redis = free_port(), free_port()
        config["listeners"].append(listener(replication, "replication"))
        config["redis"] = {"enabled": True, "host": "127.0.0.1", "port": redis}
        config["instance_map"] = {"main": {"host": "127.0.0.1", "port": replication}}
        config["run_background_tasks_on"] = WORKER
        services.append((redis_server(site, redis), partial(listening, redis)))
    homeserver = site.write("homeserver.yaml", config)
    main: list[str | Path] = [python, "-m", "synapse.app.homeserver", "-c", homeserver]
    # Synapse's own default of a log configuration is what operators run it with.
    subprocess.run([*main, "--generate-keys"], check=True, cwd=site.directory, stdout=subprocess.DEVNULL)
    return Server(
        f"Synapse {VERSION} ({f'main and {WORKER}' if with_worker else 'one process'})",
        site,
        Process("main", main, site.directory),
        [background_worker(site, python, homeserver, log_config)] if with_worker else [],
        services,
        usual=[WORKER] if with_worker else [],
        copy_room=partial(copy_room, site),
        add_messages=partial(add_messages, site),
    )


def background_worker(site: Site, python: Path, homeserver: Path, log_config: Path) -> Worker:
    own_log = site.directory / f"{WORKER}.log.yaml"
    own_log.write_text(log_config.read_text().replace("homeserver.log", f"{WORKER}.log"))
    port = free_port()
    settings = {
        "worker_app": "synapse.app.generic_worker",
        "worker_name": WORKER,
        "worker_listeners": [listener(port)],
        "worker_log_config": str(own_log),
    }
    own = site.write(f"{WORKER}.yaml", settings)
    command: list[str | Path] = [python, "-m", "synapse.app.generic_worker", "-c", homeserver, "-c", own]
    return Worker(Process(WORKER, command, site.directory), port)


def redis_server(site: Site, port: int) -> Process:
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("a Synapse worker needs redis-server on PATH")
    memory_only = ["--save", "", "--appendonly", "no"]
    command = [program, "--bind", "127.0.0.1", "--port", str(port), *memory_only]
    return Process("redis", command, site.directory)
