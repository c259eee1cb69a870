import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_lite.canonical_json import MAX_DEPTH
from synapse_lite.errors import MatrixError
from synapse_lite.http.access import Access
from synapse_lite.http.request import MAX_MARKS, REQUIRED, check_shape
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route
from synapse_lite.rest.body import parameter
from tests.http.memory import PEER, fetch, site


def read(work, *, query="", body=b"", headers=None, **arguments):
    """What `work(request)` gives inside a handler, or the error body with its status."""

    async def handler(request):
        return {"value": work(request)}

    server = site([Route("POST", "/x", handler, Access.NONE)], **arguments)
    answer = fetch(server, "POST", "/x" + query, body, headers)
    if answer.status == 200:
        return answer.json()["value"]
    return answer.status, answer.json()["errcode"]


@pytest.mark.parametrize(
    ("query", "headers", "token"),
    [
        ("", {"Authorization": "Bearer abc"}, "abc"),
        ("", {"Authorization": "bearer  abc "}, "abc"),
        ("?access_token=abc", {}, "abc"),
        ("?access_token=query", {"Authorization": "Bearer header"}, "header"),
        ("", {}, None),
        ("?access_token=", {}, None),
        ("", {"Authorization": "Basic abc"}, None),
        ("", {"Authorization": "Bearer "}, None),
    ],
)
def test_access_tokens(query, headers, token):
    """The header wins over the query; without either the answer is 401."""
    assert read(lambda r: r.access_token_or_none(), query=query, headers=headers) == token
    required = read(lambda r: r.access_token(), query=query, headers=headers)
    assert required == (token or (401, "M_MISSING_TOKEN"))


@pytest.mark.parametrize(
    ("forwarded", "trusted", "ip"),
    [
        (None, True, PEER),
        ("203.0.113.9", False, PEER),
        ("203.0.113.9", True, "203.0.113.9"),
        ("10.0.0.1, 203.0.113.9", True, "203.0.113.9"),
        ("10.0.0.1, 2001:db8::1", True, "2001:db8::1"),
        ("<script>", True, PEER),
    ],
)
def test_client_address(forwarded, trusted, ip):
    """Only the last hop counts, and only behind a proxy."""
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert read(lambda r: r.client_ip, headers=headers, x_forwarded=trusted) == ip


def test_plain_facts():
    """Method, path without query, user agent."""
    headers = {"User-Agent": "Element/1"}
    facts = read(lambda r: [r.method, r.path, r.user_agent], query="?a=b", headers=headers)
    assert facts == ["POST", "/x", "Element/1"]


@pytest.mark.parametrize(
    ("work", "query", "expected"),
    [
        (lambda r: r.query("a"), "?a=%C3%A9+1&a=2", "é 1"),
        (lambda r: r.query("a"), "?a=x;y%3Bz=1&b", "x;y;z=1"),
        (lambda r: r.query("b"), "?a=1&b", None),
        (lambda r: r.query("a b"), "?&&=&a+b=1", "1"),
        (lambda r: r.query("a"), "?b=1", None),
        (lambda r: r.query("a", "z"), "?b=1", "z"),
        (lambda r: r.query("a"), "?a=", ""),
        (lambda r: r.query("a", REQUIRED), "?a=", ""),
        (lambda r: r.query("a", REQUIRED), "?b=1", (400, "M_MISSING_PARAM")),
        (lambda r: r.query("a"), "?a=%FF", (400, "M_INVALID_PARAM")),
        (lambda r: r.query("a"), "?a=x%00", (400, "M_INVALID_PARAM")),
        (lambda r: r.query_list("a"), "?a=1&a=2", ["1", "2"]),
        (lambda r: r.query_list("a"), "", []),
        (lambda r: r.query_int("a"), "?a=10", 10),
        (lambda r: r.query_int("a", 5), "", 5),
        (lambda r: r.query_int("a", None), "", None),
        (lambda r: r.query_int("a"), "", (400, "M_MISSING_PARAM")),
        (lambda r: r.query_int("a"), "?a=-1", (400, "M_INVALID_PARAM")),
        (lambda r: r.query_int("a", minimum=-1), "?a=-1", -1),
        (lambda r: r.query_int("a", minimum=1), "?a=0", (400, "M_INVALID_PARAM")),
        (lambda r: r.query_int("a"), "?a=1.5", (400, "M_INVALID_PARAM")),
        (lambda r: r.query_int("a"), "?a=1_0", (400, "M_INVALID_PARAM")),
        (lambda r: r.query_int("a"), "?a=%D9%A1", (400, "M_INVALID_PARAM")),
        (lambda r: r.query_int("a"), "?a=" + "9" * 5000, (400, "M_INVALID_PARAM")),
        (lambda r: r.query_int("a"), "?a=9007199254740992", (400, "M_INVALID_PARAM")),
        (lambda r: r.query_int("a", 5), "?a=", (400, "M_INVALID_PARAM")),
        (lambda r: r.query_bool("a"), "?a=true", True),
        (lambda r: r.query_bool("a", True), "?a=false", False),
        (lambda r: r.query_bool("a", True), "", True),
        (lambda r: r.query_bool("a"), "?a=1", (400, "M_INVALID_PARAM")),
        (lambda r: r.query_bool("a", None), "?a=false", False),
        (lambda r: r.query_bool("a", None), "", None),
        (lambda r: r.query_choice("dir", ("b", "f"), "f"), "?dir=b", "b"),
        (lambda r: r.query_choice("dir", ("b", "f"), "f"), "", "f"),
        (lambda r: r.query_choice("dir", ("b", "f"), "f"), "?dir=x", (400, "M_INVALID_PARAM")),
        (lambda r: r.query_choice("dir", ("b", "f"), REQUIRED), "?dir=b", "b"),
        (lambda r: r.query_choice("dir", ("b", "f"), REQUIRED), "", (400, "M_MISSING_PARAM")),
    ],
)
def test_queries(work, query, expected):
    """Query parameters are typed and checked."""
    assert read(work, query=query) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"", (400, "M_NOT_JSON")),
        (b"{", (400, "M_NOT_JSON")),
        (b'{"a": NaN}', (400, "M_NOT_JSON")),
        (b'{"a": "\\ud800"}', (400, "M_NOT_JSON")),
        (b'{"a": "\xff"}', (400, "M_NOT_JSON")),
        (b"[]", (400, "M_BAD_JSON")),
        (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", (400, "M_BAD_JSON")),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", (400, "M_BAD_JSON")),
        (b'{"a": "' + b"[" * 300 + b'\\"{"}', {"a": "[" * 300 + '"{'}),
        (b"[" + b"[]," * 300 + b"{}]", (400, "M_BAD_JSON")),
    ],
)
def test_json_bodies(body, expected):
    """Only a sound JSON object passes."""
    assert read(lambda r: r.json_object(), body=body) == expected


def test_many_brackets_are_not_deep():
    """A long list is no deep one."""
    value = {"a": [{} for _ in range(500)]}
    assert read(lambda r: r.json_object(), body=json.dumps(value).encode()) == value


def test_an_empty_body_where_it_is_allowed():
    """Some clients send no body where {} is meant."""
    assert read(lambda r: r.json_object(allow_empty=True)) == {}


def test_json_need_not_be_an_object():
    """`json` gives any value."""
    assert read(lambda r: r.json(), body=b"[1]") == [1]


def test_forms_are_not_parsed():
    """A form is a body like any other: its fields are no query parameters."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    value = read(lambda r: [r.query("a"), r.body.decode()], body=b"a=1", headers=headers)
    assert value == [None, "a=1"]


def test_the_body_may_be_read_twice():
    """Signatures need the bytes, handlers the value."""
    assert read(lambda r: [r.body.decode(), r.json()], body=b"[1]") == ["[1]", [1]]


def test_response_bytes_are_sent_as_they_are():
    """Bytes are no JSON."""
    assert Response(200, b"OK", content_type="text/plain").encoded().body == b"OK"


BODY = {"text": "a", "number": 1, "flag": True, "nothing": None, "map": {}}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("text", str), "a"),
        (("number", int), 1),
        (("flag", bool), True),
        (("map", dict), {}),
        (("number", (str, int)), 1),
        (("absent", str, None), None),
        (("absent", str, "d"), "d"),
        (("nothing", str, None), None),
    ],
)
def test_parameters(arguments, expected):
    """Fields of a body have types and defaults; null is absence where the default is None."""
    assert parameter(BODY, *arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "errcode"),
    [
        (("absent", str), "M_MISSING_PARAM"),
        (("text", int), "M_BAD_JSON"),
        (("flag", int), "M_BAD_JSON"),
        (("flag", (str, int)), "M_BAD_JSON"),
        (("nothing", str), "M_BAD_JSON"),
        (("nothing", str, "d"), "M_BAD_JSON"),
    ],
)
def test_bad_parameters(arguments, errcode):
    """Absent and wrong fields have different errors; a boolean is no integer."""
    with pytest.raises(MatrixError) as caught:
        parameter(BODY, *arguments)
    assert (caught.value.status, caught.value.errcode) == (400, errcode)


JSON = st.recursive(
    st.text(alphabet='[]{}"\\,:a\n', max_size=5) | st.integers(0, 9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('[{"\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=30,
)


@given(JSON, st.integers(0, MAX_DEPTH + 20))
def test_depth_is_counted_outside_of_texts(value, levels):
    """Whatever texts and keys hold, also escaped quotes and backslashes, only lists and objects count."""
    body = b"[" * levels + json.dumps([value, *([[]] * MAX_DEPTH)]).encode() + b"]" * levels
    if levels + _depth([value, []]) > MAX_DEPTH:
        with pytest.raises(MatrixError):
            check_shape(body)
    else:
        check_shape(body)


@pytest.mark.parametrize("item", ["0", "[]", '{"a":{}}'])
def test_bodies_of_too_many_values(item):
    """However few bytes they have; what stands in texts does not count."""
    text = "[" + ",".join([item] * (MAX_MARKS + 2)) + "]"
    with pytest.raises(MatrixError) as refused:
        check_shape(text.encode())
    assert (refused.value.status, refused.value.errcode) == (413, "M_TOO_LARGE")
    check_shape(json.dumps([text]).encode())


def _depth(value):
    match value:
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
        case list():
            return 1 + max(map(_depth, value), default=0)
        case _:
            return 0
