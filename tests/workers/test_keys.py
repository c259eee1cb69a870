"""The file of the signing key."""

import os
import stat
from pathlib import Path

import pytest

from synapse_lite.errors import ConfigError
from synapse_lite.workers.keys import load_signing_key


def test_the_key_is_private_before_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody else can open it, not even for the moment between its writing and its name."""
    modes = []
    link = os.link

    def watched(source: str, target: Path) -> None:
        modes.append(stat.S_IMODE(Path(source).stat().st_mode))
        link(source, target)

    monkeypatch.setattr(os, "link", watched)
    path = tmp_path / "keys" / "hs.test.signing.key"
    made = load_signing_key(path, "hs.test")
    assert f"{path} is not there: a new key is made" in caplog.text
    assert modes == [0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_signing_key(path, "hs.test").key_id == made.key_id
    assert list(path.parent.iterdir()) == [path]


def test_the_first_of_several_processes_makes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds a key where none was a moment ago takes that one."""
    path = tmp_path / "signing.key"
    first = load_signing_key(path, "hs.test")
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert load_signing_key(path, "hs.test").verify_key == first.verify_key


def test_a_broken_key_is_named(tmp_path: Path) -> None:
    """A file that holds something else is left as it is."""
    path = tmp_path / "signing.key"
    path.write_text("ed25519 a_1 nonsense")
    with pytest.raises(ConfigError, match=r"signing_key_path: .*signing\.key"):
        load_signing_key(path, "hs.test")
    assert path.read_text() == "ed25519 a_1 nonsense"
