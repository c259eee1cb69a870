"""Once a day: delete the devices, and their access tokens, that nobody has used for a year."""

from attrs import frozen
from pydantic import BaseModel, PositiveInt

from synapse_lite.clock import Clock
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.registry import Binding
from synapse_lite.tasks.specs import TaskSpec, TaskView

DAY = 86_400
DELETE = """
DELETE FROM devices WHERE (user_id, device_id) IN
    (SELECT user_id, device_id FROM devices WHERE last_seen_ts < %s LIMIT %s) RETURNING user_id
"""


class Params(BaseModel):
    days: PositiveInt = 365


class Cursor(BaseModel):
    deleted: int = 0


@frozen
class ForgetDevices:
    clock: Clock

    def step(self, txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        before_ms = self.clock.now_ms() - task.params.days * DAY * 1000
        users = [user_id for (user_id,) in txn.rows(DELETE, (before_ms, task.batch))]
        for user_id in set(users):
            txn.publish(Kind.SESSION, user_id=user_id)  # other processes forget the tokens they know
        deleted = (task.cursor or Cursor()).deleted + len(users)
        if len(users) < task.batch:
            return Done({"deleted": deleted}, done=len(users))
        return Next(Cursor(deleted=deleted), done=len(users))


SPEC = TaskSpec(action="forget_devices", version=1, params=Params, cursor=Cursor, every_seconds=DAY)
BINDING = Binding(SPEC, lambda stores: ForgetDevices(stores.clock))
