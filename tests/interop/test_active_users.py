"""`limit_usage_by_mau` of both servers: what those read who are too many."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synapse_lite.cli.api import ApiError, call
from tests.interop.synapse import Synapse
from tests.processes.conftest import BuildSite, build_site

__all__ = ["build_site"]

CLIENT = "/_matrix/client/v3"
LIMITED = {
    "limit_usage_by_mau": True,
    "max_mau_value": 1,
    "admin_contact": "mailto:a@b.test",
    "enable_registration": True,
    "enable_registration_without_verification": True,
}
Ask = Callable[..., Any]


def refusal(ask: Ask, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[Any, ...]:
    with pytest.raises(ApiError) as refused:
        ask(method, path, body, token)
    return refused.value.status, refused.value.errcode, str(refused.value)


def refusals(ask: Ask, first: str, second: str) -> list[tuple[Any, ...]]:
    """What the second user reads: on sync, room creation, joining and log-in; and who registers."""
    room = ask("POST", "createRoom", {"preset": "public_chat"}, first)["room_id"]
    ask("GET", "sync", None, first)
    dummy = {"username": "carol", "password": "secret", "auth": {"type": "m.login.dummy"}}
    password = {"identifier": {"type": "m.id.user", "user": "bob"}, "password": "secret"}
    return [
        refusal(ask, "GET", "sync", None, second),
        refusal(ask, "POST", "createRoom", {}, second),
        refusal(ask, "POST", f"join/{room}", {}, second),
        refusal(ask, "POST", "login", {"type": "m.login.password", **password}),
        refusal(ask, "POST", "register", dummy),
    ]


def test_both_refuse_alike(build_site: BuildSite, tmp_path: Path) -> None:
    ours = build_site("main", **LIMITED)
    ours.start("main")

    def ask_ours(method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        return call(method, f"{ours.url()}{CLIENT}/{path}", body, token=token)

    found = refusals(ask_ours, *(ours.user(name).access_token for name in ("alice", "bob")))
    with Synapse(tmp_path, options=LIMITED) as synapse:

        def ask_theirs(method: str, path: str, body: Any = None, token: str | None = None) -> Any:
            return synapse.request(method, f"{CLIENT}/{path}", body, token)

        tokens = [synapse.register(name)["access_token"] for name in ("alice", "bob")]
        expected = refusals(ask_theirs, *tokens)
    assert found == expected
