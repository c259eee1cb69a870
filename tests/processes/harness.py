"""Real processes for tests: started, signalled, asked over HTTP; every wait has a deadline."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import orjson
import psutil

from synapse_lite.cli.api import answers, call, register
from tests.ports import free_port

START = 600.0  # seconds: patience for a slow machine; whoever waits for a condition goes on at once
STOP = 120.0
_POLL = 0.05


def wait_until(condition: Callable[[], Any], what: str, timeout: float = START) -> Any:
    """The first true value of the condition; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(_POLL)
    return value


def is_running(pid: int) -> bool:
    """False also for a process that has ended and that nobody has waited for yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_of(directory: Path) -> list[int]:
    """Process ids whose command line names the directory."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if any(str(directory) in word for word in process.info["cmdline"] or ())
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


class Process:
    """`python -m synapse_lite ...` in a directory; what it says on standard error is in `log()`.

    `module`: another one to run than `synapse_lite`. `group`: the process group to join.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        directory: Path,
        environ: Mapping[str, str] | None = None,
        *,
        module: str = "synapse_lite",
        group: int | None = None,
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-m", module, *arguments]
        self._directory = directory
        self._environ = {**os.environ, **(environ or {})}
        self._group = group
        self._log = directory / f"{name}.log"
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.running.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()

    @property
    def running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "not started"
        return self._process

    def start(self) -> None:
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=self._group,
            )
        self._lines = queue.SimpleQueue()
        threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True).start()

    def line(self, timeout: float = START) -> str:
        """The next line of standard output."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            line = ""
        assert line, f"{self.name} said nothing; its log:\n{self.log()}"
        return line

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for_log(self, pattern: str, timeout: float = START) -> re.Match[str]:
        return wait_until(lambda: re.search(pattern, self.log()), f"{pattern!r} in {self._log}", timeout)

    def wait_healthy(self, base_url: str) -> None:
        def ready() -> bool:
            assert self.running.poll() is None, f"{self.name} has ended:\n{self.log()}"
            return answers(f"{base_url}/health")

        wait_until(ready, f"{base_url}/health")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(STOP)

    def kill(self) -> None:
        """SIGKILL."""
        self.running.kill()
        self.running.wait(STOP)


def _read(output: IO[str], lines: "queue.SimpleQueue[str]") -> None:
    with output:
        for line in output:
            lines.put(line)
    lines.put("")


class Server(Process):
    """`synapse-lite up` with its own PostgreSQL, without rate limits; `ready` is what it printed."""

    def __init__(self, directory: Path, *options: str, workers: int = 1, name: str = "up") -> None:
        self.data_dir = directory / "data"
        port = str(free_port(following=workers))
        words = ["up", "--json", "--no-rate-limits", "--port", port, "--workers", str(workers)]
        super().__init__(name, [*words, "--data-dir", str(self.data_dir), *options], directory)
        self.ready: dict[str, Any] = {}

    def start(self) -> None:
        super().start()
        try:
            self.ready = orjson.loads(self.line())
        except BaseException:
            self.kill()
            raise

    @property
    def base_url(self) -> str:
        return self.ready["base_url"]

    @property
    def admin_token(self) -> str:
        return self.ready["admin"]["access_token"]

    @property
    def postgres(self) -> dict[str, Any]:
        """Arguments of `psycopg2.connect`."""
        return self.ready["postgres"]

    def pid(self, name: str) -> int:
        """The process that has the name now; it may have been started again."""
        return int(re.findall(rf"started {name} \(pid (\d+)\)", self.log())[-1])

    def signal(self, name: str, number: signal.Signals) -> None:
        """SIGKILL, SIGSTOP or SIGCONT, for example, to `main` or `background1`."""
        os.kill(self.pid(name), number)

    def wait_for_restart(self, name: str, pid: int) -> int:
        """The process id of the one that came after `pid`."""
        wait_until(lambda: self.pid(name) != pid, f"a new {name}")
        return self.pid(name)

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str | None = None
    ) -> Any:
        """JSON of the answer; ApiError unless 2xx. `path` starts with a slash."""
        return call(method, f"{self.base_url}{path}", body, token=token)

    def register(self, username: str, password: str = "secret", *, admin: bool = False) -> dict[str, Any]:
        """`user_id`, `access_token`, `device_id`."""
        secret = self.ready["registration_shared_secret"]
        return register(self.base_url, secret, username=username, password=password, admin=admin)

    def login(self, username: str, password: str = "secret") -> dict[str, Any]:
        identifier = {"type": "m.id.user", "user": username}
        body = {"type": "m.login.password", "identifier": identifier, "password": password}
        return self.request("POST", "/_matrix/client/v3/login", body)
