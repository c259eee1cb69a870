"""Configuration files of a test."""

import pytest


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="homeserver.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_file
