"""What later events have made of an event: whether it is redacted, and whether anything relates to it."""

from collections.abc import Collection, Mapping

from attrs import define, field

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.nids import nid_array
from synapse_lite.storage.planner import planned_once
from synapse_lite.storage.prepared import Prepared

_REDACTIONS = Prepared(
    "redactions_of",
    "SELECT target_nid, event_nid FROM redactions WHERE applied AND target_nid = ANY(%s::bigint[])",
)
_PARENTS = (
    "SELECT p.number, NULL::bigint FROM unnest(%s::text[]) WITH ORDINALITY AS p (event_id, number)"
    " WHERE EXISTS (SELECT FROM relations r WHERE r.parent_id = p.event_id OFFSET 0)"
)
_MARKS = Prepared("marks", f"{_REDACTIONS} UNION ALL {_PARENTS}")


@define
class Marks:
    """Of some events (`nids`) the redaction of each that is redacted, by nid, and those to which something relates.

    Of `others` the latter is not known.
    """

    nids: set[int] = field(factory=set)
    redactions: dict[int, int] = field(factory=dict)
    parents: set[int] = field(factory=set)
    others: set[int] = field(factory=set)

    def add(self, more: "Marks") -> None:
        self.nids |= more.nids
        self.redactions |= more.redactions
        self.parents |= more.parents
        self.others |= more.others


def read_marks(txn: Transaction, others: Collection[int], possible: Mapping[int, str]) -> Marks:
    """In one statement; whether something relates to them only of the `possible` parents, whose ids it takes."""
    if not others and not possible:
        return Marks()
    arguments: list[object] = [nid_array([*others, *possible])]
    if possible:
        arguments.append([*possible.values()])
    with planned_once(txn):
        rows = txn.rows(_MARKS if possible else _REDACTIONS, arguments)
    parents = [*possible]
    marks = Marks({*possible}, others={*others})
    for number, redaction in rows:
        if redaction is None:
            marks.parents.add(parents[number - 1])
        else:  # where several redactions apply, the first one of them
            marks.redactions[number] = min(redaction, marks.redactions.get(number, redaction))
    return marks
