"""Secrets that are given in a file of their own (`..._path`) instead of in the configuration."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synapse_lite.config.model import Config
from synapse_lite.config.private_files import create_private_file

_SHARED_SECRET = "registration_shared_secret"  # noqa: S105 (the name of an option)
_SECRETS = (
    (_SHARED_SECRET,),
    ("macaroon_secret_key",),
    ("form_secret",),
    ("turn_shared_secret",),
    ("database", "args", "password"),
)


def fill_in_secrets(values: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Put the content of each secret's file in its place; yields (option, what is wrong)."""
    for *sections, name in _SECRETS:
        section = _descend(values, sections)
        twin = f"{name}_path"
        path = section.get(twin)
        if not isinstance(path, str):
            continue
        if section.get(name) is not None:
            yield (*sections, twin), f"cannot be given together with {name}"
        elif name != _SHARED_SECRET or Path(path).exists():
            try:
                section[name] = _read(Path(path))
            except OSError as error:
                yield (*sections, twin), f"{path} cannot be read: {error.strerror}"
            except ValueError as error:
                yield (*sections, twin), f"{path} cannot be read: {error}"


def ensure_registration_secret(config: Config) -> Config:
    """Make the file of `registration_shared_secret_path` when it is missing. Raises OSError.

    Processes may start at the same time: all of them return the secret of the one that was first.
    """
    path = config.registration_shared_secret_path
    if path is None or config.registration_shared_secret is not None:
        return config
    create_private_file(path, secrets.token_urlsafe(32) + "\n")
    return config.model_copy(update={_SHARED_SECRET: _read(path)})


def _read(path: Path) -> str:
    secret = path.read_text(encoding="utf-8").strip()
    if not secret:
        raise ValueError("the file is empty")
    return secret


def _descend(values: dict[str, Any], sections: list[str]) -> dict[str, Any]:
    section: Any = values
    for name in sections:
        section = section.get(name)
        if not isinstance(section, dict):
            return {}
    found: dict[str, Any] = section
    return found
