"""The admin page as the server serves it, on an API whose answers a test writes."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

from synapse_lite.rest.admin.ui import PATH, UiApi
from tests.http.memory import fetch, site

ADMIN = "/_synapse/admin/v1"
CLIENT = "/_matrix/client/v3"
ADMIN_TOKEN = "token of the admin"
USER_TOKEN = "token of ada"


def now() -> int:
    return round(time.time() * 1000)


def a_task(number: int, **more: Any) -> dict[str, Any]:
    """A task object of the API."""
    return {
        "id": f"task{number}",
        "action": "redact_all_events",
        "status": "active",
        "timestamp_ms": now(),
        "resource_id": f"@spam{number}:hs.test",
        "result": None,
        "error": None,
        "version": 1,
        "progress": {"done": 0, "total": None, "phase": None},
        "attempt": 1,
        "max_attempts": 5,
        "priority": 0,
        "runner": "background1",
        "runnable_by": ["background1", "background2"],
        "last_seen_runner": "background1",
        "waiting_reason": None,
        "requester": "@admin:hs.test",
        "endpoint": "POST /_synapse/admin/v1/user/{user_id}/redact",
        "cancel_requested": False,
        "created_ts": now() - 5_700_000,
        "updated_ts": now(),
        "finished_ts": None,
        **more,
    }


def a_runner(name: str, *actions: str, alive: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "runner": f"{name}#abc",
        "alive": alive,
        "started_ts": now() - 3_700_000,
        "expires_ts": now() + (10_000 if alive else -60_000),
        "running": 1 if alive else 0,
        "actions": [{"action": action, "version": 1} for action in actions],
    }


@attrs.define
class Refusal(Exception):  # noqa: N818 (what the API calls it)
    status: int
    errcode: str
    error: str
    more: dict[str, Any] = attrs.field(factory=dict)


UNRECOGNIZED = Refusal(404, "M_UNRECOGNIZED", "Unrecognized request")


@attrs.define
class Call:
    method: str
    path: str
    query: dict[str, list[str]]
    body: Any


class Stage:
    """`tasks`, `details`, `runners` and `unserved` are what the API shows; `refusals` by path, as what is `held`; `calls` so far."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = []
        self.periodic: list[dict[str, Any]] = []
        self.details: dict[str, dict[str, Any]] = {}
        self.runners: list[dict[str, Any]] = [a_runner("background1", "redact_all_events", "purge_room")]
        self.unserved: list[dict[str, Any]] = []
        self.refusals: dict[str, Refusal] = {}
        self.held: dict[str, threading.Event] = {}
        self.calls: list[Call] = []
        self.tokens = {ADMIN_TOKEN: "@admin:hs.test", USER_TOKEN: "@ada:hs.test"}
        self.page = site(UiApi().routes())
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.stage = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{PATH}/"

    def called(self, method: str, path: str) -> list[Call]:
        return [call for call in self.calls if (call.method, call.path) == (method, path)]

    def answer(self, call: Call, token: str) -> dict[str, Any]:
        """The body of a 200; raises Refusal."""
        self.calls.append(call)
        for path, event in self.held.items():
            if call.path.startswith(path):
                event.wait()
        for path, refusal in self.refusals.items():
            if call.path.startswith(path):
                raise refusal
        match call.method, call.path.removeprefix(CLIENT):
            case "POST", "/login":
                return self._log_in(call.body)
            case "POST", "/logout":
                self.tokens.pop(token, None)
                return {}
        user_id = self.tokens.get(token)
        if user_id is None:
            raise Refusal(401, "M_UNKNOWN_TOKEN", "Unrecognised access token")
        if call.path == f"{CLIENT}/account/whoami":
            return {"user_id": user_id}
        if user_id != "@admin:hs.test":
            raise Refusal(403, "M_FORBIDDEN", "You are not a server admin")
        return self._administer(call, call.path.removeprefix(ADMIN).strip("/").split("/"))

    def _log_in(self, body: Any) -> dict[str, Any]:
        name = body["identifier"]["user"]
        if name not in ("admin", "ada") or body["password"] != "secret":
            raise Refusal(403, "M_FORBIDDEN", "Invalid username or password")
        token = ADMIN_TOKEN if name == "admin" else USER_TOKEN
        self.tokens[token] = f"@{name}:hs.test"
        return {"user_id": f"@{name}:hs.test", "access_token": token, "device_id": "D"}

    def _administer(self, call: Call, words: list[str]) -> dict[str, Any]:
        match call.method, words:
            case "GET", ["scheduled_tasks"] if call.query.get("periodic") == ["true"]:
                answer = {"scheduled_tasks": self.periodic}
            case "GET", ["scheduled_tasks"]:
                answer = self._page(call.query)
            case "GET", ["scheduled_tasks", task_id]:
                answer = {**self._task(task_id), **self.details.get(task_id, {})}
            case "POST", ["scheduled_tasks", task_id, "cancel"]:
                answer = self._task(task_id)
                answer["cancel_requested"] = True
            case "POST", ["scheduled_tasks", task_id, "retry"]:
                answer = {**self._task(task_id), "id": "again", "status": "scheduled"}
                self.tasks.append(answer)
            case "GET", ["task_runners"]:
                answer = {"runners": self.runners, "unserved": self.unserved}
            case "GET", ["task_actions"]:
                answer = {"actions": []}
            case "POST", ["user", user_id, "redact"]:
                self.tasks.append(a_task(99, id="redacting", resource_id=unquote(user_id)))
                answer = {"redact_id": "redacting"}
            case _:
                raise UNRECOGNIZED
        return answer

    def _page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        limit = int(query["limit"][0])
        first = int(query.get("from", ["0"])[0])
        statuses = query.get("status", [])
        found = [task for task in self.tasks if not statuses or task["status"] in statuses]
        page: dict[str, Any] = {"scheduled_tasks": found[first : first + limit]}
        if first + limit < len(found):
            page["next_token"] = str(first + limit)
        return page

    def _task(self, task_id: str) -> dict[str, Any]:
        for task in self.tasks:
            if task["id"] == task_id:
                return task
        raise Refusal(404, "M_NOT_FOUND", "No such task")


_ONE_AT_A_TIME = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if not self.path.startswith(PATH):
            self._answer_api()
            return
        headers = {name: value for name, value in self.headers.items() if name == "If-None-Match"}
        with _ONE_AT_A_TIME:  # the site belongs to one thread
            answer = fetch(self._stage.page, "GET", self.path, headers=headers)
        self._send(answer.status, answer.headers, answer.body)

    def do_POST(self) -> None:
        self._answer_api()

    @property
    def _stage(self) -> Stage:
        return self.server.stage  # type: ignore[attr-defined]

    def _answer_api(self) -> None:
        url = urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = Call(self.command, url.path, parse_qs(url.query), json.loads(data) if data else None)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            status, body = 200, self._stage.answer(call, token)
        except Refusal as refusal:
            status = refusal.status
            body = {"errcode": refusal.errcode, "error": refusal.error, **refusal.more}
        self._send(status, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name not in ("Date", "Server", "Content-Length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
