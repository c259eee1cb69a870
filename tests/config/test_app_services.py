"""Registration files of application services."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from synapse_lite.config.app_services import read_registrations
from synapse_lite.config.load import load
from synapse_lite.errors import ConfigError
from synapse_lite.handlers.app_services import AppServices
from synapse_lite.matrix.app_service import AppService

GOOD: dict[str, Any] = {
    "id": "telegram",
    "url": "http://localhost:29317/",
    "as_token": "as secret",
    "hs_token": "hs secret",
    "sender_localpart": "telegrambot",
    "rate_limited": False,
    "namespaces": {
        "users": [
            {"regex": "@telegram_.*:hs\\.test", "exclusive": True},
            {"regex": "@.*:hs\\.test", "exclusive": False},
        ],
        "aliases": [{"regex": "#telegram_.*", "exclusive": True}],
    },
    "de.sorunome.msc2409.push_ephemeral": True,
    "io.element.msc4190": True,
}


def write(path: Path, **changes: Any) -> Path:
    registration = {key: value for key, value in {**GOOD, **changes}.items() if value != "left out"}
    path.write_text(yaml.safe_dump(registration))
    return path


def read(*files: Path) -> tuple[AppService, ...]:
    return AppServices.of(read_registrations(files, "hs.test"), "hs.test").all


def test_a_file_as_bridges_write_it(tmp_path: Path) -> None:
    (service,) = read(write(tmp_path / "telegram.yaml"))
    assert service.id == "telegram"
    assert service.url == "http://localhost:29317"
    assert service.sender == "@telegrambot:hs.test"
    assert not service.is_rate_limited
    assert service.ephemeral_keys == ("ephemeral", "de.sorunome.msc2409.ephemeral")
    assert service.has_user("@alice:hs.test")
    assert not service.keeps_user("@alice:hs.test")
    assert service.keeps_user("@telegram_1:hs.test")
    assert service.keeps_user("@telegrambot:hs.test")
    assert not service.has_user("@telegram_1:elsewhere.test")
    assert service.keeps_alias("#telegram_room:hs.test")
    assert not service.has_alias("#other_telegram_room:hs.test")
    assert not service.has_room("!room:hs.test")
    assert "secret" not in repr(service)
    assert read(write(tmp_path / "puppets.yaml", url=""))[0].url is None


def test_a_service_that_only_asks(tmp_path: Path) -> None:
    (service,) = read(write(tmp_path / "puppets.yaml", url=None, namespaces={"users": None}))
    assert service.url is None
    assert service.users == ()


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"as_token": "left out"}, "as_token: is required"),
        ({"url": "left out"}, "url: is required"),
        ({"url": "localhost:8000"}, "url: should begin with http:// or https://"),
        ({"id": ""}, "id: "),
        ({"sender_localpart": "a:b"}, "sender_localpart: @a:b:hs.test is no user id"),
        ({"namespaces": "left out"}, "namespaces: is required"),
        (
            {"namespaces": {"users": [{"regex": "@(", "exclusive": True}]}},
            "namespaces.users.0.regex: is no regular expression: ",
        ),
        ({"namespaces": {"rooms": [{"regex": "!r"}]}}, "namespaces.rooms.0.exclusive: is required"),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path: Path, changes: dict[str, Any], mistake: str) -> None:
    file = write(tmp_path / "bridge.yaml", **changes)
    with pytest.raises(ConfigError) as raised:
        read_registrations([file], "hs.test")
    assert str(raised.value).startswith(f"{file}: {mistake}")


def test_all_mistakes_of_all_files_are_told_at_start(tmp_path: Path) -> None:
    same = [write(tmp_path / f"{number}.yaml") for number in range(2)]
    missing = tmp_path / "missing.yaml"
    config = tmp_path / "homeserver.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "server_name": "hs.test",
                "database": {"name": "psycopg2", "args": {}},
                "app_service_config_files": [str(one) for one in (*same, missing)],
            }
        )
    )
    with pytest.raises(ConfigError) as raised:
        load([config], {})
    assert str(raised.value).splitlines() == [
        f"{same[1]}: id: is that of {same[0]}, too",
        f"{same[1]}: as_token: is that of {same[0]}, too",
        f"{missing}: cannot be read: No such file or directory",
    ]
