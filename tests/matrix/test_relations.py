"""What a content says about other events."""

from typing import Any

import pytest

from synapse_lite.errors import MatrixError
from synapse_lite.matrix.relations import Relation, check_relation, relation_of

PARENT = "$parent"


def relating(**relates_to: Any) -> dict[str, Any]:
    return {"body": "x", "m.relates_to": relates_to}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, None),
        ({"m.relates_to": "x"}, None),
        ({"m.relates_to": []}, None),
        (relating(), None),
        (relating(**{"m.in_reply_to": {"event_id": PARENT}}), None),
        (relating(rel_type="m.thread"), None),
        (relating(event_id=PARENT), None),
        (relating(rel_type=5, event_id=PARENT), None),
        (relating(rel_type="", event_id=PARENT), None),
        (relating(rel_type="x" * 256, event_id=PARENT), None),
        (relating(rel_type="a\0", event_id=PARENT), None),
        (relating(rel_type="m.thread", event_id=["$x"]), None),
        (relating(rel_type="m.thread", event_id="x"), None),
        (relating(rel_type="m.thread", event_id="$a\0"), None),
        (relating(rel_type="m.thread", event_id="$" + "x" * 255), None),
        (relating(rel_type="m.thread", event_id=PARENT, key="x"), Relation("m.thread", PARENT)),
        (relating(rel_type="org.x", event_id=PARENT), Relation("org.x", PARENT)),
        (
            relating(rel_type="m.annotation", event_id=PARENT, key="👍"),
            Relation("m.annotation", PARENT, "👍"),
        ),
        (relating(rel_type="m.annotation", event_id=PARENT), None),
        (relating(rel_type="m.annotation", event_id=PARENT, key=5), None),
        (relating(rel_type="m.annotation", event_id=PARENT, key=""), None),
        (relating(rel_type="m.annotation", event_id=PARENT, key="x" * 501), None),
        (relating(rel_type="m.annotation", event_id=PARENT, key="a\0"), None),
    ],
)
def test_reading(content: dict[str, Any], expected: Relation | None) -> None:
    """Type and parent are texts within limits, an annotation has a key: or there is no relation."""
    assert relation_of(content) == expected


@pytest.mark.parametrize("key", [None, 5, "", "x" * 501, "a\0"])
def test_annotations_need_a_key(key: Any) -> None:
    """Our users are told; other malformed relations are none."""
    with pytest.raises(MatrixError) as caught:
        check_relation(relating(rel_type="m.annotation", event_id=PARENT, key=key))
    assert (caught.value.status, caught.value.errcode) == (400, "M_INVALID_PARAM")
    assert check_relation(relating(rel_type="m.annotation", event_id=PARENT, key="x")) is not None
    assert check_relation(relating(rel_type=5, event_id=PARENT)) is None
