"""One step of a task: fence, work, checkpoint, in one transaction.

These functions run in a database thread. What they write is void when the lease was lost
(`LeaseLostError`), together with everything that the step itself wrote.
"""

from collections.abc import Callable
from typing import Any, assert_never

from attrs import frozen
from pydantic import ValidationError

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import Fenced, Lease, Status, Transition
from synapse_lite.tasks.errors import fit_error
from synapse_lite.tasks.outcome import Done, Fail, Later, Next, Outcome
from synapse_lite.tasks.registry import Registered
from synapse_lite.tasks.specs import AsksOutside, TaskSpec, TaskView, TidiesOnCancel


@frozen
class Cancelled:
    """Instead of a step, the task was cancelled as someone had asked."""


@frozen
class Paused:
    """Instead of a step, the task was given back, because its action is paused."""


NoStep = Cancelled | Paused


@frozen
class Answer:
    """What `AsksOutside.ask` brought for a step."""

    value: Any


def read_for_asking(
    txn: Transaction, lease: Lease, work: Registered, batch: int
) -> TaskView[Any, Any] | None:
    """The task before its next step; None where there will be none."""
    fenced = store.fence(txn, lease)
    if fenced.cancel_requested or fenced.paused or (fenced.objection and _needs_admin(work.spec, fenced)):
        return None
    try:
        return _snapshot(lease, work.spec, fenced, batch)
    except ValidationError:
        return None


def run_step(
    txn: Transaction, lease: Lease, work: Registered, batch: int, answer: Answer | None = None
) -> Outcome | NoStep:
    """`answer`: for who asks outside. Without it the task is given back: when it was to be asked for, there was to be no step."""
    fenced = store.fence(txn, lease)
    try:
        task = _snapshot(lease, work.spec, fenced, batch, None if answer is None else answer.value)
    except ValidationError as error:
        outcome: Outcome = Fail(f"{work.spec.action}/{work.spec.version} is malformed: {_mistakes(error)}")
    else:
        if fenced.cancel_requested:
            _tidy(txn, work, task)
            store.finish(txn, lease, Status.CANCELLED)
            return Cancelled()
        if fenced.paused:
            store.release(txn, lease, Transition.PAUSED)
            return Paused()
        if fenced.objection and _needs_admin(work.spec, fenced):
            return _refuse(txn, lease, work, task, f"{fenced.requester} {fenced.objection}")
        if answer is None and isinstance(work.handler, AsksOutside):
            store.release(txn, lease)
            return Paused()
        if fenced.version != work.spec.version:
            _upgrade(txn, lease, work.spec, task)
        outcome = work.handler.step(txn, task)
    _write_outcome(txn, lease, outcome)
    return outcome


def record_failure(txn: Transaction, lease: Lease, error: str, backoff_ms: Callable[[int], int]) -> None:
    """After a transient failure: try again later, or give up. `backoff_ms` gets the number of the attempt."""
    fenced = store.fence(txn, lease)
    attempt = fenced.attempt + 1
    if attempt >= fenced.max_attempts:
        _park(txn, lease, fenced, attempt, error)
    else:
        delay_ms = 0 if fenced.cancel_requested else backoff_ms(attempt)
        store.retry(txn, lease, fit_error(error), delay_ms=delay_ms)


def give_up(txn: Transaction, lease: Lease, error: str) -> None:
    """Park a task that was claimed once too often."""
    fenced = store.fence(txn, lease)
    _park(txn, lease, fenced, fenced.attempt, error)


def _snapshot(
    lease: Lease, spec: TaskSpec[Any, Any], fenced: Fenced, batch: int, answer: Any = None
) -> TaskView[Any, Any]:
    return TaskView(
        id=lease.task_id,
        params=spec.read_params(fenced.params, fenced.version),
        cursor=None if fenced.cursor is None else spec.read_cursor(fenced.cursor, fenced.version),
        done=fenced.done,
        total=fenced.total,
        attempt=fenced.attempt,
        batch=batch,
        requester=fenced.requester,
        answer=answer,
    )


def _needs_admin(spec: TaskSpec[Any, Any], fenced: Fenced) -> bool:
    return spec.needs_admin and fenced.requester.startswith("@")


def _refuse(
    txn: Transaction, lease: Lease, work: Registered, task: TaskView[Any, Any], reason: str
) -> Outcome:
    """Permission is asked for each step: who lost it meanwhile has nothing done any more."""
    _tidy(txn, work, task)
    refused = Fail(reason)
    _write_outcome(txn, lease, refused)
    return refused


def _tidy(txn: Transaction, work: Registered, task: TaskView[Any, Any]) -> None:
    if isinstance(work.handler, TidiesOnCancel):
        work.handler.on_cancel(txn, task)


def _upgrade(txn: Transaction, lease: Lease, spec: TaskSpec[Any, Any], task: TaskView[Any, Any]) -> None:
    cursor = None if task.cursor is None else task.cursor.model_dump_json()
    store.upgrade(txn, lease, spec.version, task.params.model_dump_json(), cursor)


def _write_outcome(txn: Transaction, lease: Lease, outcome: Outcome) -> None:
    match outcome:
        case Next(cursor=cursor, done=done, phase=phase, total=total):
            store.checkpoint(txn, lease, cursor.model_dump_json(), done=done, phase=phase, total=total)
        case Later(cursor=cursor, seconds=seconds, done=done):
            store.postpone(txn, lease, cursor.model_dump_json(), done=done, delay_ms=round(seconds * 1000))
        case Done(result=result, done=done):
            store.finish(txn, lease, Status.COMPLETE, result=_as_text(result), done=done)
        case Fail(error=error, result=result, done=done):
            store.finish(
                txn, lease, Status.FAILED, result=_as_text(result), error=fit_error(error), done=done
            )
        case _:
            assert_never(outcome)


def _as_text(result: JsonObject | None) -> str | None:
    return None if result is None else canonical_json.encode(result).decode()


def _park(txn: Transaction, lease: Lease, fenced: Fenced, attempts: int, error: str) -> None:
    place = "its start" if fenced.cursor is None else f"cursor {fenced.cursor}"
    text = f"gave up after {attempts} attempts without progress at {place}: {error}"
    store.finish(txn, lease, Status.FAILED, error=fit_error(text))


def _mistakes(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}"
        for mistake in error.errors(include_input=False, include_url=False, include_context=False)
    )
