"""Pages of lists: which way they go, and how much they hold."""

from typing import Literal

from synapse_lite.http.request import Request

ADMIN_PAGE = 100
MAX_ADMIN_PAGE = 1000


def goes_backwards(request: Request, default: Literal["f", "b"] = "f") -> bool:
    """By `dir`; 400 `M_INVALID_PARAM` for what is neither `f` nor `b`."""
    return request.query_choice("dir", ("f", "b"), default) == "b"


def admin_limit(request: Request) -> int:
    """By `limit`, of a list of the admin API; who asks for more than a page gets a page."""
    return min(request.query_int("limit", ADMIN_PAGE), MAX_ADMIN_PAGE)
