"""What takes long is done in pieces, between which others have their turn: counted in pieces, not in seconds."""

import json
from collections.abc import Iterable
from random import Random
from typing import Any

import orjson
import pytest
from pytest_twisted import ensureDeferred

from synapse_lite import canonical_json
from synapse_lite.errors import MatrixError
from synapse_lite.federation import long_json, outliers, turns
from synapse_lite.federation.long_json import (
    AT_ONCE,
    AT_ONCE_BYTES,
    MAX_ELEMENT,
    decode_in_turns,
    read_request,
)
from synapse_lite.http.request import MAX_MARKS
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS

MANY = 2000


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each piece of work after which others could have had their turn."""
    done: list[None] = []

    async def count(steps: Iterable[None]) -> None:
        done.extend(steps)

    monkeypatch.setattr(turns, "coiterate", count)
    return done


def _event(number: int) -> dict[str, Any]:
    return {
        "type": "m.room.member",
        "content": {"displayname": 'né } ] " \\ 😀' * 4, "list": [{}, [], number, -1.5, None, True]},
        "auth_events": ["$" + "a" * 43] * 3,
    }


ANSWERS = (
    {
        "pdus": [_event(one) for one in range(MANY)],
        "auth_chain": [],
        "origin": "é",
        "deep": {"a": {"b": [1]}},
    },
    [200, {"state": [_event(one) for one in range(MANY)], "auth_chain": [{}]}],
    {"pdu_ids": ["$" + "i" * 43] * MANY, "auth_chain_ids": ["$" + "i" * 43] * 10, "number": 10**40},
    {"one": "x" * 2 * AT_ONCE_BYTES, "numbers": list(range(9 * AT_ONCE_BYTES // 5))},
    [],
    {},
    17,
)


@pytest.mark.parametrize("spelling", [{}, {"ensure_ascii": False}, {"indent": 1}])
@pytest.mark.parametrize("answer", ANSWERS)
@ensureDeferred
async def test_a_long_answer_says_what_it_says(answer: Any, spelling: dict[str, Any]) -> None:
    """However it is written."""
    assert await decode_in_turns(json.dumps(answer, **spelling).encode()) == answer


@ensureDeferred
async def test_a_long_answer_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch, pieces: list[None]) -> None:
    """Our parser never gets more than a piece, and there is a turn for others after each."""
    sizes: list[int] = []

    def measured(data: bytes) -> Any:
        sizes.append(len(data))
        return canonical_json.decode_exact(data)

    monkeypatch.setattr(long_json, "decode_exact", measured)
    data = json.dumps(ANSWERS[0]).encode()
    assert len(data) > 8 * AT_ONCE_BYTES
    await decode_in_turns(data)
    assert max(sizes) < 2 * AT_ONCE_BYTES
    assert len(pieces) >= len(data) // (2 * AT_ONCE_BYTES)
    pieces.clear()
    await decode_in_turns(json.dumps({"ids": [1] * AT_ONCE_BYTES}).encode())
    assert len(pieces) >= AT_ONCE_BYTES // AT_ONCE


@ensureDeferred
async def test_long_nonsense_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no JSON for the parser of short answers is none in pieces either, and the other way round."""
    monkeypatch.setattr(long_json, "AT_ONCE_BYTES", 8)
    monkeypatch.setattr(long_json, "WINDOW_BYTES", 16)
    good = json.dumps({"a": [1, {"b": "cé"}, "x"], "d": {"e": []}, "f": 12}).encode()
    random = Random(20)
    for _ in range(3000):
        data = bytearray(good)
        place = random.randrange(len(data))
        data[place : place + random.randrange(2)] = bytes([random.choice(b'[]{},:"1 e-\\a\xff')])
        try:
            wanted = orjson.loads(bytes(data))
        except orjson.JSONDecodeError:
            wanted = MatrixError
        try:
            found = await decode_in_turns(bytes(data))
        except MatrixError:
            found = MatrixError
        assert found == wanted, bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": [1], "b": "' + b"x" * AT_ONCE_BYTES,
        b'{"a": ["' + b"x" * (MAX_ELEMENT + 1) + b'"]}',
        b'{"a": ' + b"[" * 2 * AT_ONCE_BYTES,
        b'{"a":' * AT_ONCE_BYTES,
        b'{"a": [' + b" " * AT_ONCE_BYTES + b"1]}",
        b'{"a": [NaN' + b", 1" * AT_ONCE_BYTES + b"]}",
        b'{"a": ["\\ud800"' + b", 1" * AT_ONCE_BYTES + b"]}",
    ],
)
@ensureDeferred
async def test_long_answers_without_an_end(data: bytes) -> None:
    """They are refused, and nothing of them is read again and again."""
    with pytest.raises(MatrixError):
        await decode_in_turns(data)


@ensureDeferred
async def test_members_are_put_in_order_in_pieces(pieces: list[None]) -> None:
    """Causes come first; there is a turn for others at each event."""
    ids = [f"${number}" for number in range(MANY)]
    events = {one: _leaning(one, ids[number // 2 : number][:3]) for number, one in enumerate(ids)}
    events["$x"], events["$y"] = _leaning("$x", ["$y"]), _leaning("$y", ["$x"])  # a cycle
    ordered = [one.event_id for one in await outliers.causes_first(dict(reversed(events.items())))]
    place = {one: number for number, one in enumerate(ordered)}
    assert sorted(ordered) == sorted(ids)
    assert all(place[cause] < place[one] for one in ids for cause in events[one].auth_events)
    assert len(pieces) >= 2 * MANY


def _leaning(event_id: str, auth_events: list[str]) -> Event:
    pdu = {
        "room_id": "!r:other.test", "type": "m.room.member", "sender": "@a:other.test", "content": {},
        "origin_server_ts": 1, "depth": 1, "prev_events": [], "auth_events": auth_events,
    }  # fmt: skip
    return Event.from_pdu(pdu, ROOM_VERSIONS["11"], event_id)


@pytest.mark.parametrize("answer", [one for one in ANSWERS if one != ANSWERS[2]])
@ensureDeferred
async def test_a_long_request_is_signed_as_it_is_read(answer: Any, pieces: list[None]) -> None:
    """The canonical form that is written in pieces is the one of the whole, and no piece is longer than an element."""
    value, canonical = await read_request(json.dumps(answer, indent=1).encode())
    assert value == answer
    assert canonical == canonical_json.encode_exact(answer)
    assert len(pieces) >= len(canonical) // (2 * AT_ONCE_BYTES)


@pytest.mark.parametrize("element", [b"[]", b"7", b'{"a":1}'])
@ensureDeferred
async def test_too_many_values(element: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few bytes they have, they are not built; what stands in texts does not count for a request."""
    monkeypatch.setattr(long_json, "MAX_VALUES", MAX_MARKS)
    for read in (read_request, decode_in_turns):
        with pytest.raises(MatrixError) as refused:
            await read(b'{"a": [' + element + (b"," + element) * MAX_MARKS + b"]}")  # type: ignore[operator]
        assert refused.value.errcode == "M_TOO_LARGE"
    texts = [",[{" * 20_000] * 20
    assert (await read_request(json.dumps({"a": texts}).encode()))[0] == {"a": texts}


@ensureDeferred
async def test_deep_requests() -> None:
    """Are refused as short ones are, wherever the depth is."""
    for deep in (b'{"a":' * 200 + b"1" + b"}" * 200, b'{"a":[' + b"[" * 200 + b"]" * 200 + b"]}"):
        for padding in (b"", b" " * 2 * AT_ONCE_BYTES):
            with pytest.raises(MatrixError) as refused:
                await read_request(
                    b'{"x": [' + padding[:10] + b"0" + b",0" * (len(padding) // 2) + b'], "y": ' + deep + b"}"
                )
            assert refused.value.status == 400
