"""A small server that speaks the admin API as far as the commands need it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import attrs
import orjson
from click.testing import CliRunner, Result

from synapse_lite.cli import main

TOKEN = "syt_admin"
ADMIN = "/_synapse/admin/v1"


@attrs.frozen
class Call:
    method: str
    path: str
    query: dict[str, list[str]]
    body: Any


Answer = tuple[int, Any]


def not_found() -> Answer:
    return 404, {"errcode": "M_NOT_FOUND", "error": "no such task"}


def new_task(**changes: Any) -> dict[str, Any]:
    """A task as the API shows a single one."""
    task = {
        "id": "AbCd",
        "action": "redact_all_events",
        "status": "scheduled",
        "timestamp_ms": 1_700_000_000_000,
        "resource_id": "@spam:hs.test",
        "result": None,
        "error": None,
        "version": 1,
        "progress": {"done": 0, "total": None, "phase": None},
        "attempt": 0,
        "max_attempts": 10,
        "priority": 0,
        "runner": None,
        "runnable_by": ["background1"],
        "last_seen_runner": "background1",
        "waiting_reason": None,
        "requester": "@admin:hs.test",
        "endpoint": "POST /redact",
        "cancel_requested": False,
        "created_ts": 1_700_000_000_000,
        "updated_ts": 1_700_000_000_000,
        "finished_ts": None,
        "eta_ms": None,
        "history": [{"ts": 1_700_000_000_000, "kind": "enqueued", "runner": None, "detail": "by hand"}],
        "items": {"failed": 2},
        "params": {"rooms": []},
    }
    return task | changes


@attrs.define
class AdminServer:
    """Answers by method and path; a list is used up one by one, its last one stays. Keeps every call."""

    url: str = ""
    calls: list[Call] = attrs.Factory(list)
    answers: dict[tuple[str, str], list[Answer] | Callable[[Call], Answer]] = attrs.Factory(dict)

    def on(self, method: str, path: str, *bodies: Any) -> None:
        """200 with each of the bodies in turn; a tuple is a status and a body."""
        answers = [body if isinstance(body, tuple) else (200, body) for body in bodies]
        self.answers[method, f"{ADMIN}{path}"] = answers

    def compute(self, method: str, path: str, function: Callable[[Call], Answer]) -> None:
        self.answers[method, f"{ADMIN}{path}"] = function

    def run(self, *words: str) -> Result:
        """A command with the token."""
        return run(*words, "--url", self.url, "--token", TOKEN)

    def answer(self, call: Call, authorization: str | None) -> Answer:
        self.calls.append(call)
        if call.path.endswith("/login"):
            return 200, {"access_token": TOKEN}
        if authorization != f"Bearer {TOKEN}":
            return 401, {"errcode": "M_UNKNOWN_TOKEN", "error": "who are you?"}
        if call.path.endswith("/logout"):
            return 200, {}
        answers = self.answers.get((call.method, call.path))
        match answers:
            case None:
                return not_found()
            case list():
                return answers.pop(0) if len(answers) > 1 else answers[0]
            case _:
                return answers(call)

    @contextmanager
    def listening(self) -> Iterator[None]:
        with ThreadingHTTPServer(("127.0.0.1", 0), _handler(self)) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            self.url = f"http://127.0.0.1:{server.server_port}"
            try:
                yield
            finally:
                server.shutdown()
                thread.join(300)


def run(*words: str, text: str | None = None, environ: Mapping[str, str] | None = None) -> Result:
    """A command that sees no other of our variables than the given ones."""
    unset = dict.fromkeys(("SYNAPSE_LITE_URL", "SYNAPSE_LITE_TOKEN", "SYNAPSE_LITE_PASSWORD"))
    return CliRunner(env={**unset, **(environ or {})}).invoke(main, list(words), input=text)


def _handler(fake: AdminServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(orjson.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        do_PUT = do_POST  # noqa: N815 (the library's name)
        do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, body: Any) -> None:
            url = urlsplit(self.path)
            call = Call(self.command, unquote(url.path), parse_qs(url.query), body)
            status, answer = fake.answer(call, self.headers["Authorization"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(orjson.dumps(answer))

    return Handler
