import pytest

from synapse_lite.errors import MatrixError
from synapse_lite.http.access import Access
from synapse_lite.http.router import Route, Router, client_routes


async def handler(request):
    return {}


async def other(request):
    return {}


ROUTER = Router(
    [
        *client_routes("PUT", "/rooms/{room_id}/send/{event_type}/{txn_id}", handler, Access.NONE),
        *client_routes("GET", "/rooms/{room_id}/state/{event_type}", handler, Access.NONE),
        *client_routes("GET", "/rooms/{room_id}/state/{event_type}/{state_key}", handler, Access.NONE),
        *client_routes("GET", "/devices/{device_id}", handler, Access.NONE),
        *client_routes("DELETE", "/devices/{device}", handler, Access.NONE),
        *client_routes("POST", "/devices/all", handler, Access.NONE),
        Route("GET", "/health", other, Access.NONE),
    ]
)
V3 = b"/_matrix/client/v3"


@pytest.mark.parametrize("version", [b"r0", b"v1", b"v3"])
def test_client_routes_serve_every_version(version):
    """A client endpoint answers under r0, v1 and v3."""
    match = ROUTER.match("GET", b"/_matrix/client/" + version + b"/devices/A")
    assert match.route.handler is handler
    assert match.params == {"device_id": "A"}


@pytest.mark.parametrize("room", [b"!a:b.org", b"%21a%3Ab.org", b"%21a:b.org"])
def test_sigils_may_be_raw_or_encoded(room):
    """Clients differ in what they encode; the room id is the same."""
    match = ROUTER.match("PUT", V3 + b"/rooms/" + room + b"/send/m.room.message/t1")
    assert match.params == {"room_id": "!a:b.org", "event_type": "m.room.message", "txn_id": "t1"}


def test_an_encoded_slash_does_not_split():
    """Segments are decoded after the split."""
    match = ROUTER.match("GET", V3 + b"/devices/a%2Fb%25%C3%A9+")
    assert match.params == {"device_id": "a/b%é+"}


def test_an_empty_state_key_matches():
    """A path that ends in a slash gives an empty last parameter."""
    match = ROUTER.match("GET", V3 + b"/rooms/!a:b/state/m.room.name/")
    assert match.params == {"room_id": "!a:b", "event_type": "m.room.name", "state_key": ""}


def test_an_empty_segment_in_the_middle_does_not_match():
    """`/rooms//state/x` is no room."""
    with pytest.raises(MatrixError) as caught:
        ROUTER.match("GET", V3 + b"/rooms//state/m.room.name")
    assert caught.value.status == 404


def test_routes_of_one_path_name_their_own_parameters():
    """DELETE calls the segment otherwise than GET does."""
    assert ROUTER.match("DELETE", V3 + b"/devices/A").params == {"device": "A"}


def test_a_literal_without_the_method_gives_way_to_the_variable():
    """`all` is a literal for POST and a device for GET."""
    assert ROUTER.match("POST", V3 + b"/devices/all").params == {}
    assert ROUTER.match("GET", V3 + b"/devices/all").params == {"device_id": "all"}


def test_head_is_served_by_get():
    """HEAD needs no routes of its own."""
    assert ROUTER.match("HEAD", b"/health").route.handler is other


@pytest.mark.parametrize(
    ("method", "path", "status", "errcode"),
    [
        ("GET", b"/nowhere", 404, "M_UNRECOGNIZED"),
        ("GET", b"*", 404, "M_UNRECOGNIZED"),
        ("GET", V3, 404, "M_UNRECOGNIZED"),
        ("GET", V3 + b"/devices/A/B", 404, "M_UNRECOGNIZED"),
        ("POST", b"/health", 405, "M_UNRECOGNIZED"),
        ("BREW", V3 + b"/devices/A", 405, "M_UNRECOGNIZED"),
        ("GET", V3 + b"/devices/%FF", 400, "M_INVALID_PARAM"),
        ("GET", V3 + b"/devices/\xff", 400, "M_INVALID_PARAM"),
        ("GET", V3 + b"/devices/a%00b", 400, "M_INVALID_PARAM"),
    ],
)
def test_refusals(method, path, status, errcode):
    """Unknown paths, unknown methods and broken text have their own errors."""
    with pytest.raises(MatrixError) as caught:
        ROUTER.match(method, path)
    assert (caught.value.status, caught.value.errcode) == (status, errcode)


def test_duplicates_are_refused():
    """Two routes that differ only in names would hide each other."""
    with pytest.raises(ValueError, match="Duplicate"):
        Router([Route("GET", "/a/{b}", handler, Access.NONE), Route("GET", "/a/{c}", handler, Access.NONE)])


def test_old_prefixes_lead_to_the_stable_path():
    """Clients of old ask below `unstable` and `api/v1`; a route of its own below them comes first."""
    own = Route("GET", "/_matrix/client/unstable/devices/{mine}", other, Access.NONE)
    routes = Router([*client_routes("GET", "/devices/{device_id}", handler, Access.NONE), own])
    assert routes.match("GET", b"/_matrix/client/api/v1/devices/D").params == {"device_id": "D"}
    assert routes.match("GET", b"/_matrix/client/unstable/devices/D").params == {"mine": "D"}
    assert (
        Router(client_routes("GET", "/devices/{device_id}", handler, Access.NONE))
        .match("GET", b"/_matrix/client/unstable/devices/D")
        .params
    ) == {"device_id": "D"}
