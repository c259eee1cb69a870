"""What a step says when it is done: its return value is the checkpoint."""

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.tasks.model import TaskModel


@frozen
class Next:
    """Progress: go on from `cursor`. `done` counts what this step did; None keeps `phase` and `total`."""

    cursor: TaskModel
    done: int = 0
    phase: str | None = None
    total: int | None = None


@frozen
class Later:
    """Progress, but nothing to do for some seconds: the task gives its slot back until then."""

    cursor: TaskModel
    seconds: float
    done: int = 0


@frozen
class Done:
    """The task is complete."""

    result: JsonObject | None = None
    done: int = 0


@frozen
class Fail:
    """A permanent failure: the task can never succeed. A transient one is an exception, and is tried again.

    `result`: of one that has done all the same what could be done.
    """

    error: str
    result: JsonObject | None = None
    done: int = 0


Outcome = Next | Later | Done | Fail
