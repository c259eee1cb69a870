"""Programs of others that tests run: installed once, into a directory of the checkout that git ignores."""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import tests

HOME = Path(os.environ.get("INTEROP_HOME") or Path(tests.__file__).parent.parent / ".interop")
_PAUSE_SECONDS = 20.0


def installed(name: str, install: Callable[[Path], object]) -> Path:
    """The directory `name`, in which `install` has succeeded once. Two runs do not install at the same time."""
    HOME.mkdir(exist_ok=True)
    directory = HOME / name

    def install_anew() -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        install(directory)

    with (HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = directory / ".installed"
        if not done.exists():
            _with_another_try(install_anew)
            done.touch()
    return directory


def debian_packages(*programs: str, packages: Sequence[str]) -> None:
    """Install the packages unless the programs are on PATH. Raises RuntimeError where only an operator can."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(f"not on PATH: {', '.join(missing)}; install {' '.join(packages)} first")
    HOME.mkdir(exist_ok=True)
    with (HOME / "apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _with_another_try(partial(_apt_get, "update"))
        _with_another_try(partial(_apt_get, "install", "--yes", "--no-install-recommends", *packages))


def _with_another_try(install: Callable[[], object]) -> None:
    """An index of packages may be away for a moment."""
    try:
        install()
    except subprocess.CalledProcessError:
        time.sleep(_PAUSE_SECONDS)
        install()


def _apt_get(*words: str) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "--quiet", "--quiet", *words], check=True, env=environ)
