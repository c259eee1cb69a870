"""Searching in what has been said."""

from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json, invalid_param, missing_param
from synapse_lite.handlers.filters import read_event_filter
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.search import (
    GROUPS,
    MAX_CONTEXT,
    MAX_EVENTS,
    MAX_LIMIT,
    ORDERS,
    Around,
    SearchHandler,
    SearchRequest,
)
from synapse_lite.handlers.search_pages import RANK
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.body import parameter, text, text_list

KEYS = ("content.body", "content.name", "content.topic")
MAX_TERM = 1000
CONTEXT = 5


class SearchApi:
    def __init__(self, search: SearchHandler) -> None:
        self._search = search

    def routes(self) -> list[Route]:
        return [*client_routes("POST", "/search", self.search, Access.USER)]

    async def search(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/search`"""
        categories: Any = parameter(request.json_object(), "search_categories", dict)
        criteria: Any = parameter(categories, "room_events", dict, None)
        if criteria is None:
            return {"search_categories": {}}
        wanted = _read(criteria, request.query("next_batch") or None)
        if wanted.around is not None or wanted.with_state:
            await request.expect_large_answer()
        found = await self._search.search(requester, wanted)
        return {"search_categories": {"room_events": found}}


def _read(criteria: JsonObject, start: str | None) -> SearchRequest:
    around = _around(parameter(criteria, "event_context", dict, None))
    selection: Any = parameter(criteria, "filter", dict, {})
    each = 1 + (around.before + around.after if around else 0)
    order = parameter(criteria, "order_by", str, RANK)
    if order not in ORDERS:
        raise invalid_param(f"'order_by' must be one of {', '.join(ORDERS)}")
    return SearchRequest(
        text(criteria, "search_term", MAX_TERM),
        _keys(criteria),
        order,
        read_event_filter(selection, min(MAX_LIMIT, MAX_EVENTS // each)),
        _groups(parameter(criteria, "groupings", dict, {})),
        around,
        parameter(criteria, "include_state", bool, False),
        start,
    )


def _keys(criteria: JsonObject) -> list[str]:
    if "keys" not in criteria:
        return list(KEYS)
    keys = text_list(criteria, "keys", longest=20, most=len(KEYS))
    if unknown := set(keys) - set(KEYS):
        raise invalid_param(f"Cannot search in {', '.join(sorted(unknown))}")
    return keys


def _around(context: JsonObject | None) -> Around | None:
    if context is None:
        return None
    return Around(
        _number(context, "before_limit"),
        _number(context, "after_limit"),
        parameter(context, "include_profile", bool, False),
    )


def _number(context: JsonObject, name: str) -> int:
    number = parameter(context, name, int, CONTEXT)
    if number < 0:
        raise invalid_param(f"{name!r} must not be negative")
    return min(number, MAX_CONTEXT)


def _groups(groupings: JsonObject) -> list[str]:
    keys = []
    for group in parameter(groupings, "group_by", list, []):
        if not isinstance(group, dict):
            raise bad_json("'group_by' must be a list of objects")
        if "key" not in group:
            raise missing_param("key")
        if group["key"] not in GROUPS:
            raise invalid_param(f"The key of a group must be one of {', '.join(GROUPS)}")
        keys.append(group["key"])
    return list(dict.fromkeys(keys))
