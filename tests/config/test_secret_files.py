import stat

import pytest

from synapse_lite.config.load import load
from synapse_lite.config.secret_files import ensure_registration_secret
from synapse_lite.errors import ConfigError


@pytest.fixture
def configure(tmp_path):
    def write_and_load(text, args="{}"):
        path = tmp_path / "homeserver.yaml"
        path.write_text(f"server_name: example.com\ndatabase: {{name: psycopg2, args: {args}}}\n{text}\n")
        return load([path], {})

    return write_and_load


def test_secrets_from_files(configure, tmp_path):
    """A secret may be in a file of its own; space around it does not count."""
    secret = tmp_path / "secret"
    secret.write_text("  hush\n")
    config = configure(
        f"registration_shared_secret_path: {secret}\nform_secret_path: {secret}\n"
        f"macaroon_secret_key_path: {secret}",
        args=f"{{password_path: {secret}}}",
    )
    assert config.registration_shared_secret == config.form_secret == config.macaroon_secret_key == "hush"
    assert config.database.dsn_kwargs() == {"password": "hush"}


def test_secret_files_that_do_not_serve(configure, tmp_path):
    """Missing, empty and doubly given secrets are all named."""
    empty = tmp_path / "empty"
    empty.write_text("\n")
    with pytest.raises(ConfigError) as caught:
        configure(
            f"macaroon_secret_key_path: {empty}\nform_secret_path: /nowhere/at/all",
            args=f"{{password: a, password_path: {empty}}}",
        )
    macaroon, form, password = str(caught.value).splitlines()
    assert macaroon.endswith(f"macaroon_secret_key_path: {empty} cannot be read: the file is empty")
    assert form.endswith("form_secret_path: /nowhere/at/all cannot be read: No such file or directory")
    assert password.endswith("database.args.password_path: cannot be given together with password")


def test_registration_secret_is_made(configure, tmp_path):
    """A missing file of the registration secret is made once, for its owner only."""
    path = tmp_path / "registration"
    config = configure(f"registration_shared_secret_path: {path}")
    assert config.registration_shared_secret is None
    first, second = ensure_registration_secret(config), ensure_registration_secret(config)
    assert first.registration_shared_secret == second.registration_shared_secret == path.read_text().strip()
    assert len(first.registration_shared_secret) > 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir() if "registration" in file.name] == ["registration"]


def test_registration_secret_is_kept(configure):
    """A given secret, or none at all, is left alone."""
    given = configure("registration_shared_secret: a")
    assert ensure_registration_secret(given) is given
    without = configure("")
    assert ensure_registration_secret(without) is without
