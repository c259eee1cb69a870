"""`limit_remote_rooms` of both servers, each in front of the other's rooms."""

from collections.abc import Iterator

import pytest

from synapse_lite.cli.api import ApiError
from tests.interop.test_federated_rooms import User
from tests.interop.test_federation import build_site, federating_synapse
from tests.processes.conftest import BuildSite
from tests.processes.neighbours import Neighbours

__all__ = ["build_site"]

LIMITED = {"limit_remote_rooms": {"enabled": True, "complexity": 0.005}}


@pytest.fixture(scope="module")
def people(build_site: BuildSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[User, User]]:
    """Ours, and theirs."""
    neighbours = Neighbours.in_directory(tmp_path_factory.mktemp("neighbours"))
    ours, our_name = neighbours.site(build_site, "main", **LIMITED)
    ours.start("main")
    with federating_synapse(neighbours, tmp_path_factory.mktemp("synapse"), **LIMITED) as synapse:
        alice, bob = ours.user("alice"), synapse.register("bob")
        yield (
            User(ours.url(), our_name, alice.user_id, alice.access_token),
            User(synapse.base_url, synapse.server_name, bob["user_id"], bob["access_token"]),
        )


def refusal(user: User, room_id: str, via: str) -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        user.join(room_id, via)
    return refused.value.status, f"{refused.value.errcode} {refused.value}"


def test_both_refuse_alike(people: tuple[User, User]) -> None:
    alice, bob = people
    found = [refusal(guest, host.room(), host.server_name) for host, guest in ((alice, bob), (bob, alice))]
    assert found[0] == found[1]
    assert found[0][0] == 400
