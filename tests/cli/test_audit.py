"""`audit`, against a server of the test's own."""

import orjson

from tests.cli.admin_server import ADMIN, AdminServer

ENTRY = {
    "id": 7,
    "ts": 1_700_000_000_000,
    "user_id": "@admin:hs.test",
    "ip": "192.0.2.1",
    "user_agent": "x",
    "method": "PUT",
    "path": "/_synapse/admin/v1/suspend/@a\x1b:hs.test",
    "request": {},
    "finished_ts": None,
    "status": None,
    "response": None,
}


def test_entries_are_listed(admin_server: AdminServer) -> None:
    """Filters reach the query, days are in UTC; what is not finished is said so, and nothing steers the terminal."""
    admin_server.answers["GET", f"{ADMIN}/audit_log"] = [(200, {"entries": [ENTRY], "next_token": "7"})]
    words = (
        "--by",
        "@admin:hs.test",
        "--since",
        "2023-11-14",
        "--until",
        "2023-11-15T01:00:00",
        "--limit",
        "5",
    )
    result = admin_server.run("audit", *words, "--from", "9", "--oldest-first")
    assert result.exit_code == 0, result.output
    assert admin_server.calls[0].query == {
        "user_id": ["@admin:hs.test"],
        "since_ts": ["1699920000000"],
        "until_ts": ["1700010000000"],
        "dir": ["f"],
        "limit": ["5"],
        "from": ["9"],
    }
    assert "\x1b" not in result.stdout
    for word in ("@admin:hs.test", "192.0.2.1", "PUT /_synapse/admin/v1/suspend", "unfinished", "--from 7"):
        assert word in result.stdout
    document = orjson.loads(admin_server.run("audit", "--json").stdout)
    assert document["entries"] == [ENTRY]


def test_all_entries_are_exported(admin_server: AdminServer) -> None:
    """Page after page, one document a line."""
    pages = [{"entries": [ENTRY | {"id": 9}], "next_token": "9"}, {"entries": [ENTRY]}]
    admin_server.answers["GET", f"{ADMIN}/audit_log"] = [(200, page) for page in pages]
    result = admin_server.run("audit", "--export")
    assert [orjson.loads(line)["id"] for line in result.stdout.splitlines()] == [9, 7]
    assert [call.query.get("from") for call in admin_server.calls] == [None, ["9"]]
