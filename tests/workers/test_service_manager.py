"""What a service manager is told."""

import socket
from pathlib import Path

from synapse_lite.workers.service_manager import READY, notify


def test_it_is_told_where_it_listens(tmp_path: Path) -> None:
    """By the name of a file, or an abstract one; where nobody listens any more, nothing happens."""
    for name in (str(tmp_path / "notify"), f"@{tmp_path}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
            notify(READY, {"NOTIFY_SOCKET": name})
            assert manager.recv(100) == b"READY=1"
        notify(READY, {"NOTIFY_SOCKET": name})
    notify(READY, {})
