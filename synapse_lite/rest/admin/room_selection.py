"""Which rooms fit a selection, and selections in the bodies of requests."""

from typing import Annotated

from pydantic import ConfigDict, Field

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_selection import ChosenRooms, RoomChoice, RoomSelection
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.admin.user_selection import Time, time_of
from synapse_lite.rest.body import Body, read_body
from synapse_lite.rest.paging import admin_limit
from synapse_lite.tasks.actions.parts import MAX_PARTS

Count = Annotated[int, Field(ge=0, lt=2**31)]


class RoomSelectionBody(Body):
    """As `RoomSelection`; what is unknown is refused, so that a word misspelt does not widen the selection."""

    model_config = ConfigDict(extra="forbid")

    abandoned: bool | None = None
    quiet_since: Time | None = None
    min_members: Count | None = None
    max_members: Count | None = None


class _Body(Body):
    select: RoomSelectionBody
    max_rooms: Annotated[int, Field(ge=1, le=MAX_PARTS)] = MAX_PARTS


def read_choice(body: JsonObject) -> ChosenRooms | None:
    """`select` of a body, and `max_rooms`: do nothing if there are more. None without; 400 beside `rooms`."""
    if body.get("select") is None:
        return None
    if body.get("rooms") is not None:
        raise invalid_param("Either rooms or select")
    found = read_body(_Body, body)
    return ChosenRooms(RoomSelection(**found.select.model_dump()), found.max_rooms)


class RoomSelectionApi:
    def __init__(self, choice: RoomChoice) -> None:
        self._choice = choice

    def routes(self) -> list[Route]:
        return [Route("GET", "/_synapse/admin/v1/room_selection", self.find, Access.ADMIN)]

    async def find(self, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/room_selection`: which rooms would be meant by `select` with the same words."""
        selection = RoomSelection(
            request.query_bool("abandoned", None),
            time_of(request, "quiet_since"),
            request.query_int("min_members", None),
            request.query_int("max_members", None),
        )
        return await self._choice.page(
            selection,
            after=request.query("from", ""),
            limit=max(1, admin_limit(request)),
        )
