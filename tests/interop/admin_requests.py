"""Requests of administrators, to Synapse and to this server."""

from tests.interop.alike import Caller

_PREFIXES = {f"v{number}/": f"/_synapse/admin/v{number}/" for number in (1, 2, 3)}


def furnish(caller: Caller) -> None:
    """An administrator `root`; `alice` and `bob`, who share the room `den` with an event `hello`.

    `new-here` and such stand for localparts that nobody else has.
    """
    caller.register("root", admin=True)
    caller.register("alice", "bob")
    caller.names["server"] = caller.server_name
    for name in ("alice", "free", "new", "new2", "new3", "new4"):
        caller.names[f"{name}-here"] = caller.unique(name)
    caller.room("den", "alice", name="Den", invite=[caller.names["bob"]])
    caller.ask("POST", "rooms/{den}/join", {}, "bob")
    caller.send("hello", "den", "alice", {"msgtype": "m.text", "body": "hello"})


def ask_each(caller: Caller, requests: str) -> None:
    """As `Caller.each` by the administrator; `v1/` stands for the beginning of the path."""
    for line in requests.strip().splitlines():
        method, path, *rest = line.split(" ", 2)
        body = rest[0] if rest else None
        if body is not None:
            for name, chosen in caller.names.items():
                body = body.replace(f"{{{name}}}", chosen)
        caller.call(line, method, _whole(path), body and body.encode(), "root")


def ask_without_right(caller: Caller, requests: str) -> None:
    """Each of the paths as a user, without a token and with a wrong one."""
    asked = [tuple(line.split(" ")[:2]) for line in requests.strip().splitlines()]
    for method, path in dict.fromkeys((method, path.partition("?")[0]) for method, path in asked):
        if path.startswith("/") or "@" in path or "elsewhere" in path:
            continue
        for by in ("alice", None, "nonsense"):
            body = {} if method in {"POST", "PUT"} else None
            caller.call(f"{method} {path} by {by}", method, _whole(path), body, by)


def _whole(path: str) -> str:
    return _PREFIXES.get(path[:3], path[:3]) + path[3:]
