"""Clients written in Python, in an environment of their own: `requirements.txt` has their exact versions."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.interop.installed import installed

_HERE = Path(__file__).parent
_REQUIREMENTS = _HERE / "requirements.txt"
_SECONDS = 900.0


def run(script: str, directory: Path, **parameters: Any) -> Any:
    """What the script of this directory prints, as JSON; it gets the parameters as JSON in its first argument.

    It runs in the directory. Raises AssertionError with its standard error if it fails.
    """
    command = [_environment() / "bin" / "python", _HERE / script, json.dumps(parameters)]
    ran = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def _environment() -> Path:
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:16]
    return installed(f"python-{digest}", _install)


def _install(directory: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    pip = [directory / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--requirement", _REQUIREMENTS], check=True)
