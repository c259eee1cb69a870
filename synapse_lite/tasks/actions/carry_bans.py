"""The bans of a room go with it into its replacement."""

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.values import Write
from synapse_lite.storage.bans import banned_after
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.rooms import nids_of
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView


class CarryBansParams(TaskModel):
    """`after`: bans of user ids up to here are carried already. `sender` bans in the new room."""

    old_room_id: str
    new_room_id: str
    sender: str
    after: str


class CarryBansCursor(TaskModel):
    after: str
    carried: int = 0
    refused: int = 0


CARRY_BANS = TaskSpec(
    action="carry_bans",
    version=1,
    params=CarryBansParams,
    cursor=CarryBansCursor,
    resource=lambda params: params.new_room_id,
    needs_admin=False,
    lock=lambda params: f"carry_bans:{params.new_room_id}",
)


@frozen
class CarriedBans:
    """`last`: the last user id that was looked at; None when there are no more. `refused`: by the new room's rules."""

    last: str | None
    carried: int
    refused: int


@frozen
class BanCarrier:
    appender: EventAppender
    events: EventStore
    clock: Clock

    def carry(
        self, txn: Transaction, old_nid: int, new_nid: int, sender: str, after: str, limit: int
    ) -> CarriedBans:
        """The next `limit` bans of the old room, by user id, each with its reason; nobody bans themselves."""
        banned = banned_after(txn, old_nid, after, limit)
        events = {
            view.stored.nid: view for view in self.events.views(txn, [member.event_nid for member in banned])
        }
        writes = []
        for member in banned:
            view = events.get(member.event_nid)
            content = {} if view is None or view.redaction is not None else view.stored.event.content
            kept = {name: content[name] for name in ("reason",) if name in content}
            draft = Draft(MEMBER, sender, {**kept, "membership": "ban"}, self.clock.now_ms(), member.user_id)
            if member.user_id != sender:
                writes.append(Write(new_nid, draft))
        results = self.appender.append(txn, writes) if writes else []
        refused = sum(isinstance(result, MatrixError) for result in results)
        last = banned[-1].user_id if len(banned) == limit else None
        return CarriedBans(last, len(results) - refused, refused)


@frozen
class CarryBans:
    """The step of `CARRY_BANS`: `batch` bans."""

    carrier: BanCarrier

    def step(self, txn: Transaction, task: TaskView[CarryBansParams, CarryBansCursor]) -> Outcome:
        params = task.params
        cursor = task.cursor or CarryBansCursor(after=params.after)
        nids = nids_of(txn, [params.old_room_id, params.new_room_id])
        if len(nids) < len({params.old_room_id, params.new_room_id}):  # one of them is purged
            return Done({"carried": cursor.carried, "refused": cursor.refused})
        found = self.carrier.carry(
            txn, nids[params.old_room_id], nids[params.new_room_id], params.sender, cursor.after, task.batch
        )
        carried, refused = cursor.carried + found.carried, cursor.refused + found.refused
        if found.last is None:
            return Done({"carried": carried, "refused": refused}, done=found.carried)
        return Next(CarryBansCursor(after=found.last, carried=carried, refused=refused), done=found.carried)
