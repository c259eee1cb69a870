"""The processes of the chaos: started, signalled, and started again."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import orjson
from attrs import define, field

import tests
from synapse_lite.workers.guardian import Guardian

LEASE = 1.0  # seconds
STOP_SECONDS = 120.0
_ROOT = Path(tests.__file__).parent.parent


@define
class Workers:
    """`abilities`: the actions of each worker, by its name. Their logs are in `directory`. `lease`: in seconds.

    A guardian ends them all should this process be killed.
    """

    directory: Path
    database: Mapping[str, Any]
    abilities: Mapping[str, Sequence[str]]
    fenced: bool = True
    lease: float = LEASE
    guardian: Guardian = field(factory=Guardian)
    _processes: dict[str, subprocess.Popen[bytes]] = field(factory=dict)
    _frozen: set[str] = field(factory=set)

    @property
    def names(self) -> list[str]:
        return list(self.abilities)

    def start(self, name: str, *, is_deaf: bool = False) -> None:
        words = ["--lease", f"{self.lease:.0f}s", "--database", orjson.dumps(dict(self.database)).decode()]
        words += ["--deaf"] * is_deaf + ["--unfenced"] * (not self.fenced)
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.chaos.worker",
                    name,
                    *words,
                    "--actions",
                    *self.abilities[name],
                ],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=self.guardian.group,
            )

    def has_ended(self, name: str) -> bool:
        return self._processes[name].poll() is not None

    def kill(self, name: str) -> None:
        """SIGKILL; frozen or not."""
        self._frozen.discard(name)
        self._processes[name].kill()
        self._processes[name].wait(STOP_SECONDS)

    def freeze(self, name: str) -> None:
        self._processes[name].send_signal(signal.SIGSTOP)
        self._frozen.add(name)

    def thaw(self, name: str) -> None:
        """Does nothing unless it is frozen."""
        if name in self._frozen:
            self._frozen.discard(name)
            self._processes[name].send_signal(signal.SIGCONT)

    def drain(self, name: str) -> None:
        """SIGTERM; does not wait."""
        self._processes[name].send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """All of them, in order. `TimeoutExpired` when one does not end by itself."""
        for name in self._processes:
            self.thaw(name)
            self.drain(name)
        for process in self._processes.values():
            process.wait(STOP_SECONDS)

    def log(self, name: str) -> str:
        return self._log(name).read_text(errors="replace")

    def __enter__(self) -> Self:
        self.guardian.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait(STOP_SECONDS)
        self.guardian.stop()

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.log"
