"""A task that counts, with what a test needs to stop it in the middle of a step."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.specs import TaskSpec, TaskView
from tests.tasks.conftest import fire

ASKED = {"requester": "@admin:x", "endpoint": "POST /test"}


class Params(TaskModel):
    name: str = "a"


class Cursor(TaskModel):
    at: int


COUNT = TaskSpec(
    action="count",
    version=1,
    params=Params,
    cursor=Cursor,
    resource=lambda params: params.name,
    unique=lambda params: params.name,
    max_attempts=3,
)


def at(task: TaskView[Params, Cursor]) -> int:
    return task.cursor.at if task.cursor else 0


class Gate:
    """Lets the test see that a step is under way, and decides when it goes on."""

    def __init__(self) -> None:
        self.entered: Deferred[None] = Deferred()
        self.opened: Deferred[None] = Deferred()

    def open(self) -> None:
        fire(self.opened)

    def pass_through(self) -> None:
        """In the thread of a step."""
        reactor.callFromThread(fire, self.entered)
        blockingCallFromThread(reactor, self._wait)

    def _wait(self) -> "Deferred[None]":
        waiting: Deferred[None] = Deferred()
        self.opened.addCallback(lambda _: fire(waiting))
        return waiting
