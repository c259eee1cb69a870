"""What is known about the task that the running code works for."""

from contextvars import ContextVar

task_id: ContextVar[str] = ContextVar("task_id", default="")
"""The id of the task whose step runs; "" outside of tasks. Coroutines and database threads inherit it."""
