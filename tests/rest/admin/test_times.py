"""Times in what administrators ask for: one in another unit would do nothing, or too much, without a word."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.rest.admin_server import V1, AdminServer

USER = f"@alice:{SERVER}"
IN_BODIES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("prune_devices", {}, "before_ts"),
    ("delete_old_otks", {}, "before_ts"),
    (f"user/{USER}/redact", {"rooms": []}, "before_ts"),
    (f"user/{USER}/redact", {"rooms": []}, "after_ts"),
    ("redact", {"users": [USER]}, "before_ts"),
    ("redact", {"users": [USER]}, "after_ts"),
    ("purge_history/!room", {}, "purge_up_to_ts"),
)
SELECTING = ("redact", "erase_users")
IN_QUERIES = ("media/delete", f"media/{SERVER}/delete", "purge_media_cache")
WRONG = {"seconds": 1_700_000_000, "microseconds": 1_700_000_000_000_000, "negative": -1}


@pytest.mark.parametrize("unit", WRONG)
@ensureDeferred
async def test_a_time_in_another_unit_is_refused(server: AdminServer, unit: str) -> None:
    """In bodies, selections and queries, naming the parameter; no task is started."""
    await server.user("alice")
    wrong = WRONG[unit]
    for path, body, name in IN_BODIES:
        answer = await server.call("POST", f"{V1}/{path}", {**body, name: wrong}, server.token)
        assert (answer.status, answer.json()["errcode"]) == (400, "M_INVALID_PARAM"), (path, name)
        assert name in answer.json()["error"]
    for path in SELECTING:
        for name in ("created_after", "created_before"):
            body = {"select": {"localpart": "*", name: wrong}}
            assert await server.refusal("POST", f"{V1}/{path}", body, server.token) == (400, "M_BAD_JSON")
    for name in ("created_after", "created_before"):
        query = f"{V1}/user_selection?localpart=*&{name}={wrong}"
        assert await server.refusal("GET", query, None, server.token) == (400, "M_INVALID_PARAM")
    for path in IN_QUERIES:
        answer = await server.call("POST", f"{V1}/{path}?before_ts={wrong}", {}, server.token)
        assert (answer.status, answer.json()["errcode"]) == (400, "M_INVALID_PARAM"), path
    assert (await server.admin("GET", f"{V1}/scheduled_tasks?periodic=false"))["scheduled_tasks"] == []


@ensureDeferred
async def test_what_is_no_time_is_refused(server: AdminServer) -> None:
    """Text, fractions and truth values."""
    for path, body, name in IN_BODIES:
        for wrong in ("1700000000000", "yesterday", 1.5, True):
            status, _ = await server.refusal("POST", f"{V1}/{path}", {**body, name: wrong}, server.token)
            assert status == 400, (path, name, wrong)


@ensureDeferred
async def test_the_date_that_was_understood_is_named(server: AdminServer) -> None:
    """Who wrote seconds sees why it is wrong."""
    body = {"before_ts": WRONG["seconds"]}
    answer = await server.call("POST", f"{V1}/prune_devices", body, server.token)
    assert "1970-01-20" in answer.json()["error"]
