"""The file that names the process, as long as it is ready."""

import os
from contextlib import suppress
from pathlib import Path

from attrs import define

from synapse_lite.errors import ConfigError


@define
class PidFile:
    """Written when the process is ready: one that finds its port taken leaves the file of whoever has it."""

    path: Path | None
    _written: bytes | None = None

    def write(self) -> None:
        """Raises ConfigError."""
        if self.path is None:
            return
        written = f"{os.getpid()}\n".encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(written)
        except OSError as error:
            raise ConfigError(f"pid_file: {error}") from None
        self._written = written

    def remove(self) -> None:
        """Unless another process is ready by now: the ports are free for it before all has stopped here."""
        if self.path is None or self._written is None:
            return
        with suppress(OSError):
            if self.path.read_bytes() == self._written:
                self.path.unlink()
