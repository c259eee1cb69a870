"""The one error tree, and the Matrix error codes.

Handlers raise `MatrixError`; `http/response.py` renders it, in one place only.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Errcode(StrEnum):
    """Error codes of the client-server API ("Standard error response") and of Synapse."""

    ALIAS_IN_USE = "M_ROOM_IN_USE"
    BAD_ALIAS = "M_BAD_ALIAS"
    BAD_JSON = "M_BAD_JSON"
    BAD_STATE = "M_BAD_STATE"
    EXCLUSIVE = "M_EXCLUSIVE"
    FORBIDDEN = "M_FORBIDDEN"
    INVALID_PARAM = "M_INVALID_PARAM"
    INVALID_ROOM_STATE = "M_INVALID_ROOM_STATE"
    INVALID_USERNAME = "M_INVALID_USERNAME"
    LIMIT_EXCEEDED = "M_LIMIT_EXCEEDED"
    MISSING_PARAM = "M_MISSING_PARAM"
    MISSING_TOKEN = "M_MISSING_TOKEN"  # noqa: S105 (an error code)
    NOT_FOUND = "M_NOT_FOUND"
    NOT_JSON = "M_NOT_JSON"
    TOO_LARGE = "M_TOO_LARGE"
    UNKNOWN = "M_UNKNOWN"
    UNKNOWN_TOKEN = "M_UNKNOWN_TOKEN"  # noqa: S105 (an error code)
    UNRECOGNIZED = "M_UNRECOGNIZED"
    UNSUPPORTED_ROOM_VERSION = "M_UNSUPPORTED_ROOM_VERSION"
    USER_DEACTIVATED = "M_USER_DEACTIVATED"
    USER_IN_USE = "M_USER_IN_USE"
    WEAK_PASSWORD = "M_WEAK_PASSWORD"  # noqa: S105 (an error code)


class SynapseLiteError(Exception):
    """Root of every error that this package raises on purpose."""


class ConfigError(SynapseLiteError):
    """The configuration is wrong; the text lists every mistake, one a line."""


class MatrixError(SynapseLiteError):
    """An answer to a client: HTTP status, `errcode`, text, and further keys of the body."""

    def __init__(
        self, status: int, errcode: str, message: str, extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.errcode = errcode
        self.message = message
        self.extra = dict(extra or {})


def bad_json(message: str) -> MatrixError:
    return MatrixError(400, Errcode.BAD_JSON, message)


def invalid_param(message: str) -> MatrixError:
    return MatrixError(400, Errcode.INVALID_PARAM, message)


def missing_param(name: str) -> MatrixError:
    return MatrixError(400, Errcode.MISSING_PARAM, f"Missing parameter {name!r}")


def forbidden(message: str) -> MatrixError:
    return MatrixError(403, Errcode.FORBIDDEN, message)


def not_found(message: str) -> MatrixError:
    return MatrixError(404, Errcode.NOT_FOUND, message)


def limit_exceeded(retry_after_ms: int) -> MatrixError:
    return MatrixError(429, Errcode.LIMIT_EXCEEDED, "Too many requests", {"retry_after_ms": retry_after_ms})
