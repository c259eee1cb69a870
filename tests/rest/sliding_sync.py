"""What sliding sync is asked in tests, and what they look at in its answers."""

from typing import Any

from tests.builders import SERVER
from tests.server import TestServer

MERGED = "/_matrix/client/v4/sync"
PATH = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
LIST = {"ranges": [[0, 19]], "required_state": [["m.room.name", ""]], "timeline_limit": 5}
ALL = {"lists": {"all": LIST}}
NAMES = ("account_data", "receipts", "typing", "to_device", "e2ee")
EXTENSIONS = {"extensions": {name: {"enabled": True} for name in NAMES}}
UNKNOWN_POS = (400, "M_UNKNOWN_POS")
ALICE, BOB = f"@alice:{SERVER}", f"@bob:{SERVER}"


async def sync(server: TestServer, token: str, body: Any, pos: str | None = None, wait_ms: int = 0) -> Any:
    query = f"?timeout={wait_ms}" + (f"&pos={pos}" if pos else "")
    return await server.ok("POST", PATH + query, body, token)


async def count(server: TestServer, table: str) -> int:
    return int(await server.database.read(lambda txn: txn.value(f"SELECT count(*) FROM {table}")))


async def say(server: TestServer, token: str, room: str, text: str) -> str:
    body = {"msgtype": "m.text", "body": text}
    sent = await server.ok("PUT", f"{room}/send/m.room.message/{text}", body, token)
    return str(sent["event_id"])


def texts(room: Any) -> list[str]:
    return [event["content"]["body"] for event in room["timeline"] if event["type"] == "m.room.message"]


def id_of(room: str) -> str:
    return room.removeprefix("rooms/")
