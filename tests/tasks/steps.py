"""The tasks about rooms and media, run step by step on a real database, each step in a process that has just started."""

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define, field
from pydantic import BaseModel

from synapse_lite.replication.bus import LocalBus
from synapse_lite.rooms.redact_on_ban import RedactOnBan
from synapse_lite.rooms.taken_back import TakenBackRedactions
from synapse_lite.storage import accounts
from synapse_lite.storage import tasks as store
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.tasks import Capability, Lease, Task
from synapse_lite.tasks.actions.carry_bans import CARRY_BANS, BanCarrier, CarryBans
from synapse_lite.tasks.actions.deactivate_user import DEACTIVATE_USER, DeactivateUser
from synapse_lite.tasks.actions.delete_device_messages import DELETE_DEVICE_MESSAGES, DeleteDeviceMessages
from synapse_lite.tasks.actions.delete_media import DELETE_MEDIA, DeleteMedia
from synapse_lite.tasks.actions.delete_old_otks import DELETE_OLD_OTKS, DeleteOldKeys
from synapse_lite.tasks.actions.erase_user import ERASE_USER, EraseUser
from synapse_lite.tasks.actions.erase_users import ERASE_EACH_USER, ERASE_USERS
from synapse_lite.tasks.actions.prune_devices import PRUNE_DEVICES, PruneDevices
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistory
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM, PurgeRoom
from synapse_lite.tasks.actions.quarantine_media import QUARANTINE_MEDIA, QuarantineMedia
from synapse_lite.tasks.actions.rebuild import REBUILD, Rebuild
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS, RedactAllEvents
from synapse_lite.tasks.actions.redact_on_ban import REDACT_ON_BAN, RedactOnBanTask
from synapse_lite.tasks.actions.redact_users import REDACT_EACH_USER, REDACT_USERS
from synapse_lite.tasks.actions.remove_guests import REMOVE_GUESTS, RemoveGuests
from synapse_lite.tasks.actions.shutdown_room import SHUTDOWN_AND_PURGE_ROOM, ShutdownAndPurgeRoom
from synapse_lite.tasks.actions.shutdown_rooms import SHUTDOWN_EACH_ROOM, SHUTDOWN_ROOMS
from synapse_lite.tasks.actions.update_join_states import UPDATE_JOIN_STATES, UpdateJoinStates
from synapse_lite.tasks.actions.withdraw_invites import WITHDRAW_INVITES, WithdrawInvites
from synapse_lite.tasks.lease import Cancelled, Paused, run_step
from synapse_lite.tasks.outcome import Next, Outcome
from synapse_lite.tasks.queue import TaskQueue
from synapse_lite.tasks.registry import TaskRegistry
from synapse_lite.tasks.specs import TaskSpec
from tests.builders import SERVER, TickingClock, World

ADMIN = f"@admin:{SERVER}"
RUNNER = "w#1"
T = TypeVar("T")


class Crash(Exception):  # noqa: N818 (not a mistake of anybody)
    """The process ends before the commit."""


@define
class Steps:
    """`world` writes into rooms; `run` runs a task to its end."""

    database: Database
    clock: TickingClock = field(factory=TickingClock)
    server_name: str = SERVER
    world: World = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.world = World(self.clock, server_name=self.server_name)

    @property
    def queue(self) -> TaskQueue:
        return TaskQueue(self.database, LocalBus())

    async def do(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self.database.transact(function, *args, **kwargs)

    async def open(self) -> None:
        """Make the administrator, and a runner for the steps."""

        def create(txn: Transaction) -> None:
            accounts.create_account(txn, NewAccount(ADMIN, 1, is_admin=True))
            store.register_runner(txn, RUNNER, "w", _registry(self).capabilities(), 600_000)

        await self.do(create)

    async def ask(self, spec: TaskSpec[Any, Any], params: BaseModel) -> str:
        return (await self.queue.enqueue(spec, params, requester=ADMIN, endpoint="test")).id

    async def claim(self, spec: TaskSpec[Any, Any]) -> Lease:
        claimed = await self.do(store.claim, RUNNER, [(spec.action, spec.version)], [])
        assert claimed is not None
        return claimed.lease

    async def step(
        self, spec: TaskSpec[Any, Any], lease: Lease, batch: int = 100, *, crash: bool = False
    ) -> Outcome | Cancelled | Paused:
        work = _registry(self).get(spec.action, spec.version)

        def run(txn: Transaction) -> Outcome | Cancelled | Paused:
            outcome = run_step(txn, lease, work, batch)
            if crash:
                raise Crash
            return outcome

        return await self.do(run)

    async def go_on(self, spec: TaskSpec[Any, Any], batch: int = 100) -> None:
        """Claim what is pending, and run it to its end."""
        lease = await self.claim(spec)
        while isinstance(await self.step(spec, lease, batch), Next):
            pass

    async def run(self, spec: TaskSpec[Any, Any], params: BaseModel, batch: int = 100) -> Task:
        task_id = await self.ask(spec, params)
        await self.go_on(spec, batch)
        return await self.task(task_id)

    async def totals(self, spec: TaskSpec[Any, Any], params: BaseModel) -> list[int]:
        """What a new task gives as its total, step by step, for as long as it counts."""
        task_id = await self.ask(spec, params)
        lease = await self.claim(spec)
        totals = []
        while (task := await self.task(task_id)).phase in {None, "count"}:
            if task.total is not None:
                totals.append(task.total)
            await self.step(spec, lease, 1)
        return totals

    async def task(self, task_id: str) -> Task:
        task = await self.do(store.read_task, task_id)
        assert task is not None
        return task

    async def items(self, task_id: str, outcome: str) -> list[str]:
        items = await self.do(store.read_items, task_id, outcome=outcome, after=None, limit=1000)
        return [item.item for item in items]


def capabilities(steps: Steps) -> frozenset[Capability]:
    """What the steps are able to run."""
    return _registry(steps).capabilities()


def spec_of(steps: Steps, action: str) -> TaskSpec[Any, Any]:
    versions = [version for name, version in capabilities(steps) if name == action]
    return _registry(steps).get(action, max(versions)).spec


def _registry(steps: Steps) -> TaskRegistry:
    """Of a process without memory."""
    fresh, server_name = World(steps.clock, server_name=steps.server_name), steps.server_name
    registry = TaskRegistry()
    registry.register(SHUTDOWN_AND_PURGE_ROOM, ShutdownAndPurgeRoom(fresh.appender, steps.clock, server_name))
    registry.register(PURGE_ROOM, PurgeRoom(steps.clock, server_name))
    registry.register(PURGE_HISTORY, PurgeHistory(server_name))
    registry.register(CARRY_BANS, CarryBans(BanCarrier(fresh.appender, fresh.events, steps.clock)))
    registry.register(UPDATE_JOIN_STATES, UpdateJoinStates(fresh.appender, fresh.events, steps.clock))
    registry.register(DEACTIVATE_USER, DeactivateUser(fresh.appender, steps.clock))
    registry.register(DELETE_MEDIA, DeleteMedia(steps.clock, server_name))
    registry.register(QUARANTINE_MEDIA, QuarantineMedia(steps.clock, server_name))
    guests = RemoveGuests(fresh.appender, fresh.events, fresh.state, steps.clock, server_name)
    registry.register(REMOVE_GUESTS, guests)
    registry.register(WITHDRAW_INVITES, WithdrawInvites(fresh.appender, steps.clock, server_name))
    registry.register(ERASE_USER, EraseUser())
    registry.register(ERASE_USERS, ERASE_EACH_USER)
    registry.register(DELETE_DEVICE_MESSAGES, DeleteDeviceMessages())
    registry.register(REBUILD, Rebuild())
    registry.register(PRUNE_DEVICES, PruneDevices())
    registry.register(DELETE_OLD_OTKS, DeleteOldKeys())
    registry.register(SHUTDOWN_ROOMS, SHUTDOWN_EACH_ROOM)
    registry.register(REDACT_USERS, REDACT_EACH_USER)
    on_ban = RedactOnBan(fresh.events, fresh.state)
    taken_back = TakenBackRedactions(fresh.events, fresh.state)
    registry.register(REDACT_ON_BAN, RedactOnBanTask(fresh.events, on_ban, taken_back))
    registry.register(
        REDACT_ALL_EVENTS,
        RedactAllEvents(fresh.appender, fresh.events, fresh.state, steps.clock, server_name),
    )
    return registry
