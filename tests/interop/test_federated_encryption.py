"""Encrypted rooms across servers: a real client on each, one of ours and one of Synapse's."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop import node
from tests.interop.test_federation import Pair, build_site, pair
from tests.interop.test_node_clients import TEXTS, check_encryption

__all__ = ["build_site", "pair"]


@pytest.mark.parametrize("owner", ["ours", "theirs"])
def test_a_lost_device_loses_no_history(pair: Pair, owner: str, tmp_path: Path) -> None:
    """Alice on one server and Bob on the other: keys, a backup, emoji, a deleted device and a new identity, whoever has the room."""
    names = [f"alice-{owner}", f"bob-{owner}"]
    urls = [pair.ours.url(), pair.synapse.base_url]
    registering: list[Callable[[str], object]] = [pair.ours.user, pair.synapse.register]
    if owner == "theirs":
        urls.reverse()
        registering.reverse()
    for register, name in zip(registering, names, strict=True):
        register(name)
    shown = node.run(
        "encryption.mjs",
        tmp_path / "client",
        baseUrls=[*urls, urls[0]],
        users=[{"name": name, "password": "secret"} for name in names],
        texts=TEXTS,
    )
    check_encryption(shown)
