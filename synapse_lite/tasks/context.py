"""What is known about the task that the running code works for, or about the request that asks for one."""

from contextvars import ContextVar

from synapse_lite.storage.tasks import TaskRequest

task_id: ContextVar[str] = ContextVar("task_id", default="")
"""The id of the task whose step runs; "" outside of tasks. Coroutines and database threads inherit it."""

task_request: ContextVar[TaskRequest | None] = ContextVar("task_request", default=None)
"""The request that the running code answers, when its sender gave it a key: a repetition starts no second task."""
