"""What is known about the request that the running code works for."""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Like `PUT-17`, unique within a process; "" outside requests. Coroutines inherit it."""
