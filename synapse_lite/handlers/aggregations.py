"""What relates to the events that somebody reads ("Server-side aggregation of m.… relationships").

Edits and annotations have none of their own. The content of an edited event stays as it is: its newest edit
comes with it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import frozen

from synapse_lite.handlers.visibility import Viewer, Visibility
from synapse_lite.matrix.relations import ANNOTATION, REPLACE, relation_of
from synapse_lite.storage import timeline
from synapse_lite.storage.aggregations import Summary, read_summaries, related_entries
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import Aggregations, EventStore, StoredEvent, Thread, View
from synapse_lite.storage.stream import Place
from synapse_lite.storage.timeline import Entry


@frozen
class Reader:
    """Who reads, without those whom they ignore.

    `viewers`: their view of the rooms, by nid; in others they were all the time since the events that are shown.
    """

    user_id: str
    viewers: Mapping[int, Viewer]
    ignored: Collection[str] = ()


def with_aggregations(
    txn: Transaction, events: EventStore, visibility: Visibility, views: Sequence[View], reader: Reader
) -> list[View]:
    """The views (with `is_parent`) with what relates to them, as the reader may know it: of what they may not see
    nothing is told.
    """
    found = _summaries(
        txn, visibility, [view.stored for view in views if view.is_parent and _has_own(view)], reader
    )
    if not found:
        return list(views)
    related = _views(txn, events, found.values())
    latest = [related[one.latest_nid] for one in found.values() if one.latest_nid in related]
    edits = _summaries(
        txn, visibility, [view.stored for view in latest if view.is_parent and _has_own(view)], reader
    )
    more = _views(txn, events, edits.values()) if edits else {}
    for view in latest:
        edit = _edit(view, edits.get(view.stored.nid), more)
        if edit is not None:
            related[view.stored.nid] = view._replace(aggregations=Aggregations(edit=edit))
    ids = events.ids_of(txn, [nid for one in found.values() for nid in one.reference_nids])
    return [_with(view, found.get(view.stored.nid), related, ids) for view in views]


def _summaries(
    txn: Transaction, visibility: Visibility, parents: Sequence[StoredEvent], reader: Reader
) -> dict[int, Summary]:
    doubtful = _doubtful(txn, parents, reader)
    sure = [parent for parent in parents if parent.nid not in doubtful]
    found = read_summaries(txn, sure, reader.user_id, reader.ignored)
    by_room: dict[int, list[Entry]] = {}
    for room_nid, entry in related_entries(txn, list(doubtful.values())):
        by_room.setdefault(room_nid, []).append(entry)
    if by_room:
        seen = visibility.seen(txn, reader.viewers, by_room)
        found |= read_summaries(txn, list(doubtful.values()), reader.user_id, reader.ignored, seen)
    return found


def _doubtful(txn: Transaction, parents: Sequence[StoredEvent], reader: Reader) -> dict[int, StoredEvent]:
    """By nid, those to which something may relate that the reader may not see."""
    viewers = reader.viewers
    found = {
        parent.nid: parent
        for parent in parents
        if parent.room_nid in viewers and not viewers[parent.room_nid].sees_all
    }
    places = timeline.places_of(txn, found) if found else {}
    return {
        nid: parent
        for nid, parent in found.items()
        if not _since_joined(viewers[parent.room_nid], places.get(nid))
    }


def _since_joined(viewer: Viewer, place: Place | None) -> bool:
    return viewer.is_joined and place is not None and viewer.place <= place


def _has_own(view: View) -> bool:
    relation = relation_of(view.stored.event.content) if view.redaction is None else None
    return relation is None or relation.rel_type not in {REPLACE, ANNOTATION}


def _views(txn: Transaction, events: EventStore, summaries: Iterable[Summary]) -> dict[int, View]:
    nids = {nid for one in summaries for nid in (one.edit_nid, one.latest_nid) if nid is not None}
    return {view.stored.nid: view for view in events.views(txn, list(nids), as_parents=True)}


def _with(view: View, found: Summary | None, related: Mapping[int, View], ids: Mapping[int, str]) -> View:
    if found is None:
        return view
    aggregations = Aggregations(
        _edit(view, found, related),
        _thread(found, related),
        [ids[nid] for nid in found.reference_nids if nid in ids],
    )
    return view._replace(aggregations=aggregations)


def _edit(view: View, found: Summary | None, related: Mapping[int, View]) -> StoredEvent | None:
    """Of a redacted event, and of state, there are no edits."""
    if found is None or found.edit_nid is None or view.redaction is not None or view.stored.event.is_state:
        return None
    edit = related.get(found.edit_nid)
    return None if edit is None else edit.stored


def _thread(found: Summary, related: Mapping[int, View]) -> Thread | None:
    if found.latest_nid is None or found.latest_nid not in related:
        return None
    return Thread(related[found.latest_nid], found.thread_count, found.participated)
