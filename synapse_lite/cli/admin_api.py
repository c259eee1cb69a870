"""The server's admin API, as commands call it."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote, urlencode

import attrs
import click

from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.api import DEFAULT_URL, TIMEOUT, ApiError, call, client_url
from synapse_lite.cli.options import Access
from synapse_lite.config.load import load

MAX_PAGE = 1000
_ADMIN = "/_synapse/admin/v1"
_CLIENT = "/_matrix/client/v3"
_NO_ROOM = "!nothing:dry-run.invalid"
_BAD_REQUEST = 400
_DEVICE_NAME = "synapse-lite command"


@attrs.frozen
class Wanted:
    """Which tasks to list; empty means any."""

    statuses: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    resource_id: str | None = None

    def query(self) -> list[tuple[str, str]]:
        resource = [("resource_id", self.resource_id)] if self.resource_id else []
        return [
            *(("status", status) for status in self.statuses),
            *(("action_name", action) for action in self.actions),
            *resource,
        ]


class AdminApi:
    """Answers are the server's JSON. Every method raises ApiError."""

    def __init__(self, base_url: str, token: str) -> None:
        self._base_url = base_url
        self._token = token

    def tasks(self, wanted: Wanted, *, limit: int | None, from_token: str | None = None) -> JsonObject:
        """`scheduled_tasks`, and `next_token` when there are more: pages are joined up to the limit (None: all)."""
        tasks: list[JsonObject] = []
        while True:
            size = MAX_PAGE if limit is None else min(MAX_PAGE, limit - len(tasks))
            start = [("from", from_token)] if from_token else []
            page = self._call(
                "GET", f"/scheduled_tasks?{urlencode([*wanted.query(), *start, ('limit', size)])}"
            )
            tasks += page["scheduled_tasks"]
            from_token = page.get("next_token")
            if from_token is None or len(tasks) == limit:
                break
        return {"scheduled_tasks": tasks} | ({"next_token": from_token} if from_token else {})

    def task(self, task_id: str) -> JsonObject:
        return self._call("GET", _path("scheduled_tasks", task_id))

    def cancel(self, task_id: str) -> JsonObject:
        return self._call("POST", _path("scheduled_tasks", task_id, "cancel"), {})

    def retry(self, task_id: str, *, from_start: bool) -> JsonObject:
        body = {"from": "start" if from_start else "cursor"}
        return self._call("POST", _path("scheduled_tasks", task_id, "retry"), body)

    def runners(self) -> JsonObject:
        return self._call("GET", "/task_runners")

    def actions(self) -> JsonObject:
        return self._call("GET", "/task_actions")

    def pause(self, action: str, *, paused: bool) -> JsonObject:
        return self._call("PUT", _path("task_actions", action), {"paused": paused})

    def redact(self, user_id: str, body: Mapping[str, Any]) -> str:
        """The id of the task."""
        redact_id: str = self._call("POST", _path("user", user_id, "redact"), body)["redact_id"]
        return redact_id

    def knows_dry_run(self, user_id: str) -> bool:
        """Whether `dry_run` keeps the server from redacting. Asking does no harm where it is not known.

        A server that reads the field refuses a value that is not a boolean, and says so. One that ignores
        it gets a request about a room that cannot exist.
        """
        try:
            self.redact(user_id, {"rooms": [_NO_ROOM], "dry_run": "?"})
        except ApiError as error:
            if error.status == _BAD_REQUEST and "dry_run" in str(error):
                return True
            if error.status != _BAD_REQUEST:
                raise
        return False

    def redaction(self, redact_id: str) -> JsonObject:
        return self._call("GET", _path("user", "redact_status", redact_id))

    def ask(
        self,
        method: str,
        *words: str,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, Any] | None = None,
        base: str = _ADMIN,
        timeout: float = TIMEOUT,
    ) -> JsonObject:
        """`words` are the parts of the path below `base`; what is None of the query is left out."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        path = _path(*words) + (f"?{urlencode(given)}" if given else "")
        answer: JsonObject = call(
            method, f"{self._base_url}{base}{path}", body, token=self._token, timeout=timeout
        )
        return answer

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> JsonObject:
        answer: JsonObject = call(method, f"{self._base_url}{_ADMIN}{path}", body, token=self._token)
        return answer


@contextmanager
def open_admin_api(access: Access) -> Iterator[AdminApi]:
    """With the token given, or one that lives as long as the context. Raises ApiError, ConfigError."""
    base_url = _find_url(access)
    if access.token and not access.user:
        yield AdminApi(base_url, access.token)
        return
    token = _log_in(base_url, access)
    try:
        yield AdminApi(base_url, token)
    finally:
        with suppress(ApiError):  # what the command found out matters more
            call("POST", f"{base_url}{_CLIENT}/logout", {}, token=token)


def _find_url(access: Access) -> str:
    url = access.url
    if url is None and access.config_paths:
        url = client_url(load(access.config_paths, os.environ))
    return (url or DEFAULT_URL).rstrip("/")


def _log_in(base_url: str, access: Access) -> str:
    if not access.user and not sys.stdin.isatty():
        raise click.UsageError("Give --token or --user.")
    user = access.user or click.prompt("User", err=True)
    password = access.password or click.prompt("Password", hide_input=True, err=True)
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": password,
        "initial_device_display_name": _DEVICE_NAME,
    }
    token: str = call("POST", f"{base_url}{_CLIENT}/login", body)["access_token"]
    return token


def _path(*words: str) -> str:
    return "".join(f"/{quote(word, safe='')}" for word in words)
