import re
from pathlib import Path

import pytest

from synapse_lite.config.load import load
from synapse_lite.config.model import Config
from synapse_lite.config.sample import generate
from synapse_lite.config.synapse_options import IGNORED
from synapse_lite.errors import ConfigError


def test_sample_loads(tmp_path):
    """The sample can be used as it is, and says nothing that the server would not honour."""
    path = tmp_path / "homeserver.yaml"
    path.write_text(generate("example.com", data_dir=tmp_path, report_stats=True, enable_metrics=True))
    config = load([path], {})
    assert (config.server_name, config.report_stats, config.enable_metrics) == ("example.com", True, True)
    assert config.signing_key_path == tmp_path / "example.com.signing.key"
    assert [listener.bind_addresses for listener in config.listeners] == [("::1", "127.0.0.1")]
    assert config.listeners[0].resource_names == {"client", "federation"}
    assert config.unknown == config.ignored == ()


def test_sample_shows_the_defaults(tmp_path):
    """Taking the # away everywhere changes nothing, and no option is left out."""
    text = generate("example.com", data_dir=tmp_path)
    path = tmp_path / "homeserver.yaml"
    path.write_text(text)
    plain = load([path], {})
    path.write_text(re.sub(r"^#(?!#)", "", text, flags=re.MULTILINE))
    uncommented = load([path], {})
    assert uncommented == plain
    assert uncommented.model_fields_set == set(Config.model_fields)


def test_every_option_is_documented():
    """Every field of every section has a description, and the sample shows it."""
    sample = " ".join(generate("example.com", data_dir=Path("/data")).replace("\n##", " ").split())
    for name, field in Config.model_fields.items():
        assert field.description, name
        assert field.description in sample, name


def test_options_without_effect():
    """The sample says of each option that changes nothing that it does."""
    sample = generate("example.com", data_dir=Path("/data"))
    paragraphs = [" ".join(text.replace("\n##", " ").split()) for text in sample.split("\n\n")]
    honest = [text for text in paragraphs if "Not implemented: accepted, and listed at start." in text]
    assert len(honest) == len(IGNORED & set(Config.model_fields))


def test_choices(tmp_path):
    """Addresses and database can be chosen."""
    path = tmp_path / "homeserver.yaml"
    path.write_text(
        generate("a.b", data_dir=tmp_path, open_private_ports=True, database_args={"host": "/run/pg"})
    )
    config = load([path], {})
    assert config.listeners[0].bind_addresses == ("::", "0.0.0.0")
    assert config.database.dsn_kwargs() == {"host": "/run/pg"}


def test_wrong_name():
    """A server name that would not load is refused before anything is written."""
    with pytest.raises(ConfigError, match="server_name"):
        generate("not a name", data_dir=Path("/data"))
