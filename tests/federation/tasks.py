"""Tasks of a server of the test, run when the test says so."""

from itertools import count
from typing import Any

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import Claimed
from synapse_lite.tasks.lease import Answer, read_for_asking, run_step
from synapse_lite.tasks.outcome import Next
from synapse_lite.tasks.registry import Registered
from synapse_lite.tasks.specs import AsksOutside, TaskSpec
from tests.server import TestServer

BATCH = 100
_RUNNERS = count()


async def run_pending(server: TestServer, spec: TaskSpec[Any, Any], handler: Any) -> Any:
    """The outcome of the last step of the pending task, whose time has come; None: there is none."""
    work = Registered(spec, handler)
    claimed = await server.database.transact(_claim, spec)
    if claimed is None:
        return None
    while True:
        view = await server.database.transact(read_for_asking, claimed.lease, work, BATCH)
        asks = view is not None and isinstance(handler, AsksOutside)
        answer = Answer(await handler.ask(view)) if asks else None
        outcome = await server.database.transact(run_step, claimed.lease, work, BATCH, answer)
        if not isinstance(outcome, Next):
            return outcome


def _claim(txn: Transaction, spec: TaskSpec[Any, Any]) -> Claimed | None:
    capability = (spec.action, spec.version)
    runner = f"test#{next(_RUNNERS)}"
    store.register_runner(txn, runner, "test", [capability], 600_000)
    txn.execute(
        "UPDATE scheduled_tasks SET run_at = 0 WHERE action = %s AND status = 'scheduled'", (spec.action,)
    )
    return store.claim(txn, runner, [capability], [])
