import itertools

import pytest

from synapse_lite.matrix.visibility import better_membership, may_see

MEMBERSHIPS = ["join", "invite", "knock", "leave", "ban", None]
CASES = list(itertools.product(["world_readable", "shared", "invited", "joined"], MEMBERSHIPS, [False, True]))


@pytest.mark.parametrize(("visibility", "membership", "joined_since"), CASES)
def test_table(visibility: str, membership: str | None, joined_since: bool) -> None:
    """The five rules of the specification, for every combination."""
    allowed = {
        "world_readable": True,
        "shared": membership == "join" or joined_since,
        "invited": membership in {"join", "invite"},
        "joined": membership == "join",
    }
    assert may_see(visibility, membership, joined_since) is allowed[visibility]


@pytest.mark.parametrize("visibility", [None, "something"])
def test_unknown_visibility_is_shared(visibility: str | None) -> None:
    """What is not set or not understood counts as `shared`."""
    assert may_see(visibility, None, joined_since=True)
    assert not may_see(visibility, "invite", joined_since=False)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(MEMBERSHIPS, MEMBERSHIPS)))
def test_better_membership(before: str | None, after: str | None) -> None:
    """One's own member event is seen whenever the membership before or after would show it."""
    better = better_membership(before, after)
    for visibility, joined_since in itertools.product(["shared", "invited", "joined"], [False, True]):
        assert may_see(visibility, better, joined_since) is (
            may_see(visibility, before, joined_since) or may_see(visibility, after, joined_since)
        )
