"""Exit codes. Imports next to nothing: `--help` shows them."""

from enum import Enum


class Exit(Enum):
    OK = 0
    CONFIG = 1
    USAGE = 2
    FAILURE = 3
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    Exit.OK: "done",
    Exit.CONFIG: "the configuration is wrong; every mistake is listed",
    Exit.USAGE: "the command line is wrong",
    Exit.FAILURE: "it failed: the server, the database or another service did not do its part",
    Exit.INTERRUPTED: "somebody pressed Ctrl-C, or did not say yes",
}
