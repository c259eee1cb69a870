"""Who fits a selection of users, and selections in the bodies of requests."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param, missing_param
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.user_selection import Chosen, Selection, UserSelection
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.admin.times import YEAR_1971_MS, YEAR_2286_MS
from synapse_lite.rest.body import Body
from synapse_lite.rest.paging import admin_limit
from synapse_lite.tasks.actions.parts import MAX_PARTS

MAX_TEXT = 255
TEXTS = (
    *("localpart", "except_localpart", "displayname", "ip", "registration_token", "in_room", "appservice"),
)
TIMES = ("created_after", "created_before")
FLAGS = ("shadow_banned", "suspended", "locked", "deactivated", "sent_nothing")

Pattern = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"^[^\x00]*$")]
Time = Annotated[int, Field(ge=YEAR_1971_MS, lt=YEAR_2286_MS)]
"""Seconds and microseconds would select everybody, or nobody, without a word."""


class SelectionBody(Body):
    """As `Selection`; what is unknown is refused, so that a word misspelt does not widen the selection."""

    model_config = ConfigDict(extra="forbid")

    localpart: Pattern | None = None
    except_localpart: Pattern | None = None
    displayname: Pattern | None = None
    created_after: Time | None = None
    created_before: Time | None = None
    ip: Pattern | None = None
    registration_token: Pattern | None = None
    in_room: Pattern | None = None
    shadow_banned: bool | None = None
    suspended: bool | None = None
    locked: bool | None = None
    deactivated: bool | None = None
    sent_nothing: bool | None = None
    appservice: Pattern | None = None


class ChoiceBody(Body):
    """`users`, or `select` for those that fit; `max_users`: do nothing if there are more."""

    users: Annotated[list[str], Field(min_length=1, max_length=MAX_PARTS)] | None = None
    select: SelectionBody | None = None
    max_users: Annotated[int, Field(ge=1, le=MAX_PARTS)] = MAX_PARTS

    def chosen(self) -> Chosen:
        """400 `M_MISSING_PARAM` for neither, `M_INVALID_PARAM` for both."""
        if self.users is None and self.select is None:
            raise missing_param("users")
        if self.users is not None and self.select is not None:
            raise invalid_param("Either users or select")
        selection = None if self.select is None else Selection(**self.select.model_dump())
        return Chosen(tuple(self.users or ()), selection, self.max_users)


class UserSelectionApi:
    def __init__(self, selection: UserSelection) -> None:
        self._selection = selection

    def routes(self) -> list[Route]:
        return [Route("GET", "/_synapse/admin/v1/user_selection", self.find, Access.ADMIN)]

    async def find(self, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/user_selection`: who would be meant by `select` with the same words."""
        wanted: dict[str, Any] = {name: _pattern(request, name) for name in TEXTS}
        wanted |= {name: time_of(request, name) for name in TIMES}
        wanted |= {name: request.query_bool(name, None) for name in FLAGS}
        return await self._selection.page(
            Selection(**wanted),
            after=request.query("from", ""),
            limit=max(1, admin_limit(request)),
        )


def _pattern(request: Request, name: str) -> str | None:
    value = request.query(name)
    if value is not None and not 0 < len(value) <= MAX_TEXT:
        raise invalid_param(f"{name} must have 1 to {MAX_TEXT} characters")
    return value


def time_of(request: Request, name: str) -> int | None:
    """Of the query; 400 `M_INVALID_PARAM` for one in another unit."""
    value = request.query_int(name, None)
    if value is not None and not YEAR_1971_MS <= value < YEAR_2286_MS:
        raise invalid_param(f"{name} must be a time in milliseconds since 1970, after 1970: {value} is not")
    return value
