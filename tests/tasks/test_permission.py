"""Whoever asked for a task must be allowed to at each of its steps, whatever the action."""

from typing import Any

import pytest
from pydantic import BaseModel
from pytest_twisted import ensureDeferred

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.tasks import Status
from synapse_lite.tasks.actions.delete_old_otks import DeleteOldKeysParams
from synapse_lite.tasks.actions.erase_user import EraseParams
from synapse_lite.tasks.actions.erase_users import EraseUsersParams
from synapse_lite.tasks.actions.noop import NoopParams
from synapse_lite.tasks.actions.prune_devices import PruneDevicesParams
from synapse_lite.tasks.actions.purge_history import PurgeHistoryParams
from synapse_lite.tasks.actions.purge_room import PurgeRoomParams
from synapse_lite.tasks.actions.quarantine_media import QuarantineParams
from synapse_lite.tasks.actions.rebuild import RebuildParams
from synapse_lite.tasks.actions.redact_all_events import RedactParams
from synapse_lite.tasks.actions.redact_users import RedactUsersParams
from synapse_lite.tasks.actions.shutdown_room import ShutdownParams
from synapse_lite.tasks.actions.shutdown_rooms import ShutdownRoomsParams
from synapse_lite.tasks.actions.withdraw_invites import WithdrawInvitesParams
from synapse_lite.tasks.lease import run_step
from synapse_lite.tasks.outcome import Fail, Next, Outcome
from synapse_lite.tasks.queue import new_task
from synapse_lite.tasks.registry import CATALOGUE, Binding, Registered
from synapse_lite.tasks.specs import TaskSpec, TaskView

ADMIN = "@admin:x"
ROOM = "!room:x"
PARAMS: dict[str, BaseModel] = {
    "erase_user": EraseParams(user_id="@spam:x"),
    "erase_users": EraseUsersParams(user_ids=("@spam:x",), erasure=EraseParams(user_id="@spam:x")),
    "prune_devices": PruneDevicesParams(before_ts=1),
    "withdraw_invites": WithdrawInvitesParams(user_id="@bob:hs.test"),
    "delete_old_otks": DeleteOldKeysParams(before_ts=1),
    "shutdown_rooms": ShutdownRoomsParams(room_ids=(ROOM,), shutdown=ShutdownParams(room_id=ROOM)),
    "noop": NoopParams(steps=1),
    "quarantine_media": QuarantineParams(room_id=ROOM),
    "rebuild": RebuildParams(job_name="populate_stats_process_rooms"),
    "redact_all_events": RedactParams(user_id="@spam:x", rooms=[]),
    "redact_users": RedactUsersParams(
        user_ids=("@spam:x",), redaction=RedactParams(user_id="@spam:x", rooms=[])
    ),
    "shutdown_and_purge_room": ShutdownParams(room_id=ROOM),
    "purge_room": PurgeRoomParams(room_id=ROOM),
    "purge_history": PurgeHistoryParams(room_id=ROOM, received_until=1),
}
SPECS = [binding.spec for binding in CATALOGUE if isinstance(binding, Binding)]
ASKED_BY_ADMINS = [spec for spec in SPECS if spec.needs_admin]


class Untouched:
    """A handler whose step must not be run; remembers that it could tidy up."""

    def __init__(self, spec: TaskSpec[Any, Any]) -> None:
        self.spec = spec
        self.steps = 0
        self.tidied = 0

    def step(self, txn: Transaction, task: TaskView[Any, Any]) -> Outcome:
        self.steps += 1
        return Next(NoopParams(steps=1))

    def on_cancel(self, txn: Transaction, task: TaskView[Any, Any]) -> None:
        self.tidied += 1


async def one_step(
    database: Database, handler: Untouched, requester: str = ADMIN, prepare: str = "SELECT 1"
) -> Outcome:
    """Of a new task, in a transaction of its own, after `prepare`."""
    spec = handler.spec

    def run(txn: Transaction) -> Any:
        params = PARAMS.get(spec.action) or spec.params()
        task = new_task(spec, params, requester=requester, endpoint="test")
        store.enqueue(txn, task)
        store.register_runner(txn, f"w#{task.id}", "w", [(spec.action, spec.version)], 600_000)
        claimed = store.claim(txn, f"w#{task.id}", [(spec.action, spec.version)], [])
        assert claimed is not None
        txn.execute(prepare)
        outcome = run_step(txn, claimed.lease, Registered(spec, handler), 100)
        row = store.read_task(txn, task.id)
        assert row is not None
        assert (row.status is Status.FAILED) == isinstance(outcome, Fail)
        if isinstance(outcome, Fail):
            assert row.error == outcome.error
        txn.execute("UPDATE users SET is_admin = TRUE, locked = FALSE, deactivated = FALSE")
        txn.execute("DELETE FROM scheduled_tasks")
        return outcome

    return await database.transact(run)


@pytest.mark.parametrize("spec", ASKED_BY_ADMINS, ids=lambda spec: spec.action)
@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("is_admin = FALSE", "is no longer a server admin"),
        ("locked = TRUE", "is locked"),
        ("deactivated = TRUE", "is deactivated"),
    ],
)
@ensureDeferred
async def test_who_lost_the_permission_has_nothing_done(
    database: Database, spec: TaskSpec[Any, Any], column: str, words: str
) -> None:
    """The task fails before the step, says why, and may tidy up."""
    handler = Untouched(spec)
    outcome = await one_step(
        database, handler, prepare=f"UPDATE users SET {column} WHERE user_id = '{ADMIN}'"
    )
    assert outcome == Fail(f"{ADMIN} {words}")
    assert (handler.steps, handler.tidied) == (0, 1)


@pytest.mark.parametrize("spec", ASKED_BY_ADMINS, ids=lambda spec: spec.action)
@ensureDeferred
async def test_admins_may(database: Database, spec: TaskSpec[Any, Any]) -> None:
    """The step of an admin is run; so is one for which the server itself asked."""
    handler = Untouched(spec)
    assert isinstance(await one_step(database, handler), Next)
    assert isinstance(await one_step(database, handler, "periodic"), Next)
    assert isinstance(await one_step(database, handler, "@nobody:x"), Fail)
    assert (handler.steps, handler.tidied) == (2, 1)


def test_every_action_is_for_admins_or_the_servers_own() -> None:
    """What does not ask for an admin is enqueued by the server alone; params of all others are tried above."""
    assert {spec.action for spec in ASKED_BY_ADMINS if spec.every_seconds is None} >= PARAMS.keys()
    exempt = [spec for spec in SPECS if not spec.needs_admin]
    own = {
        "accept_invite",
        "carry_bans",
        "delete_device_messages",
        "deactivate_user",
        "finish_join",
        "purge_expired_messages",
        "redact_on_ban",
        "remove_guests",
        "resync_room",
        "retry_leave",
        "update_join_states",
    }
    assert {spec.action for spec in exempt if spec.every_seconds is None} <= own
