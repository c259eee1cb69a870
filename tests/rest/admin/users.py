"""What administrators see of a user, and where."""

from typing import Any

from tests.builders import SERVER
from tests.rest.admin_server import V2
from tests.server import path_part

LISTED: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "user_type": (str, type(None)),
    "is_guest": (bool,),
    "admin": (bool,),
    "deactivated": (bool,),
    "shadow_banned": (bool,),
    "displayname": (str, type(None)),
    "avatar_url": (str, type(None)),
    "creation_ts": (int,),
    "erased": (bool,),
    "last_seen_ts": (int, type(None)),
    "locked": (bool,),
    "suspended": (bool,),
}
DETAILED = LISTED | {
    "threepids": (list,),
    "appservice_id": (str, type(None)),
    "consent_server_notice_sent": (str, type(None)),
    "consent_version": (str, type(None)),
    "consent_ts": (int, type(None)),
    "external_ids": (list,),
}


def user_id(name: str) -> str:
    return f"@{name}:{SERVER}"


def one(name: str, version: str = V2) -> str:
    return f"{version}/users/{path_part(user_id(name))}"


def names(answer: Any) -> list[str]:
    return [user["name"].partition(":")[0][1:] for user in answer["users"]]


def check(user: dict[str, Any], fields: dict[str, tuple[type, ...]]) -> None:
    """The fields, all of them, exactly typed."""
    assert user.keys() == fields.keys()
    assert {name for name, kinds in fields.items() if type(user[name]) not in kinds} == set()
