"""What the figures were measured on."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import attrs


@attrs.frozen
class Machine:
    date: str
    processor: str
    cores: int
    memory_gb: float
    load: float
    servers: list[str]
    postgres: str

    @classmethod
    def inspect(cls, servers: list[str], postgres: str) -> "Machine":
        """Called before the first scenario, so that `load` is that of other programs."""
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return cls(
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            processor=processor(),
            cores=len(os.sched_getaffinity(0)),
            memory_gb=pages / 2**30,
            load=os.getloadavg()[0],
            servers=servers,
            postgres=postgres,
        )

    def facts(self) -> list[tuple[str, str]]:
        return [
            ("Servers", ", ".join(self.servers)),
            ("Processor", f"{self.processor}, {self.cores} cores"),
            ("Memory", f"{self.memory_gb:.0f} GB"),
            ("Python", platform.python_version()),
            ("PostgreSQL", f"{self.postgres}, embedded, `fsync` and `synchronous_commit` on"),
            ("Load before", f"{self.load:.2f} (one minute's average, with the start of the servers)"),
        ]


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
