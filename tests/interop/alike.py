"""The same requests to Synapse and to this server: what differs between the answers, value by value.

A scenario is a function that makes its requests through a `Caller`, under a label each. It runs on both servers;
`differences` says where ours answers otherwise than Synapse.
"""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import requests
from attrs import define, field, frozen

from tests.interop.synapse import Synapse
from tests.processes.harness import Server

CLIENT = "/_matrix/client/v3"
TIMEOUT = 60.0
_LONG_AGO = 10**9
"""A larger number is a time, in seconds or milliseconds."""
_TOKENS = frozenset(
    {"next_batch", "prev_batch", "start", "end", "next_token", "prev_token", "pos", "bump_stamp"}
    | {"session", "access_token", "refresh_token", "login_token"}
)
_UNORDERED = frozenset(
    {"state", "required_state", "invite_state", "knock_state", "stripped_state", "presence"}
    | {"org.matrix.msc4222.state_after", "changed", "left", "heroes", "room_ids", "highlights"}
)
"""Lists in which clients look for no order, or in which Synapse has none."""
_AGES = frozenset(
    {"age", "last_active_ago", "last_seen_ts", "last_seen_ip", "last_seen_user_agent", "expires_in_ms"}
)
_DEVICE_ID = re.compile(r"[A-Z]{10}")
_SIGNATURE = re.compile(r"[A-Za-z0-9+/]{86}")
_IDS = re.compile(
    r"\$[A-Za-z0-9_+/-]{43}|[!@#$][A-Za-z0-9._=/+-]+:[A-Za-z0-9.:-]+|![A-Za-z0-9_-]{43}|mxc://\S+|sy[a-z]_\w+"
)
_OF_OLD = frozenset({"user_id", "age", "prev_content", "redacted_because", "replaces_state"})
"""Of events for clients, from before the specification: `sender`, and what is in `unsigned`."""

Scenario = Callable[["Caller"], None]


@frozen
class Answer:
    """`body` is None when it was empty, and text when it was no JSON. `headers` have lower-case names."""

    status: int
    body: Any
    headers: Mapping[str, str]

    def __getitem__(self, key: str) -> Any:
        """Of the JSON object."""
        return self.body[key]


@define
class Caller:
    """Makes the requests of a scenario on one server, and keeps the answers by label.

    `names` has what a server chose (ids, tokens), by what the scenario calls it: it is shown by this name where
    answers are compared, on both servers. Many scenarios share the servers: what must be unique there has `unique`.
    """

    server: Synapse | Server
    names: dict[str, str] = field(factory=dict)
    answers: dict[str, Answer] = field(factory=dict)
    tokens: dict[str, str] = field(factory=dict)
    server_name: str = ""
    _suffix: str = field(factory=lambda: secrets.token_hex(4))

    def unique(self, name: str) -> str:
        """A localpart, for example, that no other scenario has: "ada-0123abcd"."""
        self.names[f"unique {name}"] = f"{name}-{self._suffix}"
        return self.names[f"unique {name}"]

    def register(self, *names: str, admin: bool = False) -> None:
        """Accounts that `by` can name from now on, with the password "secret"."""
        for name in names:
            made = self.server.register(self.unique(name), admin=admin)
            self.tokens[name] = made["access_token"]
            self.names[name] = made["user_id"]
            self.names[f"device of {name}"] = made["device_id"]
            self.server_name = made["user_id"].partition(":")[2]

    def room(self, name: str, by: str, /, **body: Any) -> str:
        """The id of a new room that is called so."""
        answer = self.ask("POST", f"{CLIENT}/createRoom", {"room_version": "10", **body}, by)
        assert answer.status == 200, answer
        self.names[name] = answer["room_id"]
        return self.names[name]

    def send(
        self, name: str, room: str, by: str, content: Mapping[str, Any], kind: str = "m.room.message"
    ) -> str:
        """The id of a new event that is called so."""
        path = f"{CLIENT}/rooms/{quote(self.names[room])}/send/{kind}/{quote(name)}"
        answer = self.ask("PUT", path, content, by)
        assert answer.status == 200, answer
        self.names[name] = answer["event_id"]
        return self.names[name]

    def call(
        self, label: str, method: str, path: str, body: Any = None, by: str | None = None, **options: Any
    ) -> Answer:
        """As `ask`; the answer is compared. `{ada}` in the path stands for the percent-encoded name."""
        assert label not in self.answers, f"two requests are labelled {label!r}"
        self.answers[label] = answer = self.ask(method, path, body, by, **options)
        return answer

    def each(self, lines: str, by: str | None) -> None:
        """Requests line by line, `METHOD path body`, each with itself for a label; `{ada}` also in bodies."""
        for line in lines.strip().splitlines():
            method, path, *rest = line.strip().split(" ", 2)
            options: dict[str, Any] = {}
            if rest:
                text = rest[0]
                for name, chosen in self.names.items():
                    text = text.replace(f"{{{name}}}", chosen)
                options = {"body": text.encode(), "headers": {"Content-Type": "application/json"}}
            self.call(line.strip(), method, path, by=by, **options)

    def compare(self, label: str, value: Any) -> None:
        """What of an answer is compared, where not all of it can be."""
        assert label not in self.answers, f"two values are labelled {label!r}"
        self.answers[label] = Answer(200, value, {})

    def ask(self, method: str, path: str, body: Any = None, by: str | None = None, **options: Any) -> Answer:
        """An answer of any status. A body that is bytes is sent as it is; `options` are those of `requests`."""
        for name, text in self.names.items():
            path = path.replace(f"{{{name}}}", quote(text, safe=""))
        if not path.startswith("/"):
            path = f"{CLIENT}/{path}"
        headers = dict(options.pop("headers", {}))
        if by is not None:
            headers["Authorization"] = f"Bearer {self.tokens.get(by, by)}"
        sent = {"data": body} if isinstance(body, bytes) else {"json": body}
        answer = requests.request(
            method, f"{self.server.base_url}{path}", headers=headers, timeout=TIMEOUT, **sent, **options
        )
        found = {name.lower(): text for name, text in answer.headers.items()}
        try:
            content = answer.json() if answer.content else None
        except ValueError:
            content = answer.text
        return Answer(answer.status_code, content, found)

    def plain(self, value: Any) -> Any:
        """The value with names instead of what the server chose, and with times that are all the same."""
        if isinstance(value, dict):
            return {
                self._plain_text(key): "<token>" if key in _TOKENS else _ordered(key, self.plain(item))
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.plain(item) for item in value]
        if isinstance(value, str):
            return self._plain_text(value)
        if isinstance(value, int) and not isinstance(value, bool) and value > _LONG_AGO:
            return "<time>"
        return value

    def _plain_text(self, text: str) -> str:
        for name, chosen in sorted(self.names.items(), key=lambda item: -len(item[1])):
            text = text.replace(chosen, f"<{name}>")
        if _DEVICE_ID.fullmatch(text) or _SIGNATURE.fullmatch(text):
            return "<chosen>"
        text = _IDS.sub("<id>", text)
        return text.replace(self.server_name, "<server>") if self.server_name else text


def _ordered(key: str, value: Any) -> Any:
    if key not in _UNORDERED:
        return value
    if isinstance(value, list):
        return sorted(value, key=_order)
    if isinstance(value, dict) and isinstance(value.get("events"), list):
        return {**value, "events": sorted(value["events"], key=_order)}
    return value


def _order(item: Any) -> tuple[str, ...]:
    if isinstance(item, dict):
        return tuple(str(item.get(key)) for key in ("type", "state_key", "sender", "user_id"))
    return (str(item),)


def differences(
    scenario: Scenario, synapse: Synapse, server: Server, allowed: Mapping[str, str]
) -> list[str]:
    """Where answers differ, in lines of `label: path: what`.

    `allowed` says which of these, by their beginning (`*` stands for anything), are on purpose or cannot be
    compared, and why; what it allows in vain is a difference too. Error messages are each server's own, and that
    ours has more keys is allowed. So is an error code of ours where Synapse's is M_UNKNOWN, and that ours refuses
    what Synapse fails at (status 500).
    """
    theirs, ours = Caller(synapse), Caller(server)
    for caller in (theirs, ours):
        scenario(caller)
    assert list(theirs.answers) == list(ours.answers)
    found = [
        f"{label}: {line}"
        for label, answer in theirs.answers.items()
        for line in _compare_answers(theirs, answer, ours, ours.answers[label])
    ]
    patterns = {where: re.compile(re.escape(where).replace(r"\*", ".*")) for where in allowed}
    unused = [where for where, pattern in patterns.items() if not any(map(pattern.match, found))]
    return [line for line in found if not any(pattern.match(line) for pattern in patterns.values())] + [
        f"{where}: is allowed, but does not differ" for where in unused
    ]


def _compare_answers(theirs: Caller, wanted: Answer, ours: Caller, found: Answer) -> Iterator[str]:
    if wanted.status == 500 and 400 <= found.status < 500:
        return
    if wanted.status != found.status:
        yield f"status: {found.status} {found.body}, not {wanted.status} {wanted.body}"
    elif wanted.status >= 400 and isinstance(wanted.body, dict) and isinstance(found.body, dict):
        said = {**theirs.plain(wanted.body), "error": ""}
        if said.get("errcode") == "M_UNKNOWN":
            said["errcode"] = found.body.get("errcode")
        yield from _compare(said, {**ours.plain(found.body), "error": ""})
    else:
        yield from _compare(
            _ordered("state", theirs.plain(wanted.body)), _ordered("state", ours.plain(found.body))
        )


def _compare(wanted: Any, found: Any, path: str = "") -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        is_event = wanted.keys() >= {"sender", "content", "type"}
        for key, value in wanted.items():
            where = f"{path}.{key}"
            if is_event and key in _OF_OLD:
                continue
            if key not in found:
                yield f"{where}: is not there: {value!r:.200}"
            elif key not in _AGES:
                yield from _compare(value, found[key], where)
    elif isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            yield f"{path}: {len(found)} items, not {len(wanted)}: {found!r:.400}, not {wanted!r:.400}"
            return
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _compare(one, other, f"{path}[{number}]")
    elif wanted != found or isinstance(wanted, bool) != isinstance(found, bool):
        yield f"{path}: {found!r:.200}, not {wanted!r:.200}"
