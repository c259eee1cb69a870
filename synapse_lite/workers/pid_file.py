"""The file that names the process, as long as it is ready."""

import os
from pathlib import Path

from attrs import define

from synapse_lite.errors import ConfigError


@define
class PidFile:
    """Written when the process is ready: one that finds its port taken leaves the file of whoever has it."""

    path: Path | None
    _is_written: bool = False

    def write(self) -> None:
        """Raises ConfigError."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(f"{os.getpid()}\n", "utf-8")
        except OSError as error:
            raise ConfigError(f"pid_file: {error}") from None
        self._is_written = True

    def remove(self) -> None:
        if self.path is not None and self._is_written:
            self.path.unlink(missing_ok=True)
