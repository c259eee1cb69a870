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
    CANNOT_OVERWRITE_MEDIA = "M_CANNOT_OVERWRITE_MEDIA"
    CONFLICTING_UNSUBSCRIPTION = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"
    BAD_STATUS = "M_BAD_STATUS"
    CONNECTION_FAILED = "M_CONNECTION_FAILED"
    CONNECTION_TIMEOUT = "M_CONNECTION_TIMEOUT"
    CONSENT_NOT_GIVEN = "M_CONSENT_NOT_GIVEN"
    DUPLICATE_ANNOTATION = "M_DUPLICATE_ANNOTATION"
    EXPIRED_ACCOUNT = "ORG_MATRIX_EXPIRED_ACCOUNT"
    FORBIDDEN = "M_FORBIDDEN"
    GUEST_ACCESS_FORBIDDEN = "M_GUEST_ACCESS_FORBIDDEN"
    INCOMPATIBLE_ROOM_VERSION = "M_INCOMPATIBLE_ROOM_VERSION"
    INVALID_PARAM = "M_INVALID_PARAM"
    INVALID_ROOM_STATE = "M_INVALID_ROOM_STATE"
    INVALID_SIGNATURE = "M_INVALID_SIGNATURE"
    INVALID_USERNAME = "M_INVALID_USERNAME"
    INVITE_BLOCKED = "M_INVITE_BLOCKED"
    KEY_TOO_LARGE = "M_KEY_TOO_LARGE"
    LIMIT_EXCEEDED = "M_LIMIT_EXCEEDED"
    MAX_DELAYED_EVENTS_EXCEEDED = "M_MAX_DELAYED_EVENTS_EXCEEDED"
    MAX_DELAY_EXCEEDED = "M_MAX_DELAY_EXCEEDED"
    MAX_DELAY_UNSUPPORTED = "M_MAX_DELAY_UNSUPPORTED"
    MISSING_PARAM = "M_MISSING_PARAM"
    MISSING_TOKEN = "M_MISSING_TOKEN"  # noqa: S105 (an error code)
    NOT_FOUND = "M_NOT_FOUND"
    NOT_IN_THREAD = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"
    NOT_JSON = "M_NOT_JSON"
    NOT_YET_UPLOADED = "M_NOT_YET_UPLOADED"
    PROFILE_TOO_LARGE = "M_PROFILE_TOO_LARGE"
    RESOURCE_LIMIT_EXCEEDED = "M_RESOURCE_LIMIT_EXCEEDED"
    SERVER_NOT_TRUSTED = "M_SERVER_NOT_TRUSTED"
    THREEPID_MEDIUM_NOT_SUPPORTED = "M_THREEPID_MEDIUM_NOT_SUPPORTED"
    TOO_LARGE = "M_TOO_LARGE"
    UNABLE_DUE_TO_PARTIAL_STATE = "M_UNABLE_DUE_TO_PARTIAL_STATE"
    UNABLE_TO_AUTHORISE_JOIN = "M_UNABLE_TO_AUTHORISE_JOIN"
    UNABLE_TO_GRANT_JOIN = "M_UNABLE_TO_GRANT_JOIN"
    UNAUTHORIZED = "M_UNAUTHORIZED"
    UNKNOWN = "M_UNKNOWN"
    UNKNOWN_POS = "M_UNKNOWN_POS"
    UNKNOWN_DEVICE = "M_UNKNOWN_DEVICE"
    UNKNOWN_TOKEN = "M_UNKNOWN_TOKEN"  # noqa: S105 (an error code)
    UNRECOGNIZED = "M_UNRECOGNIZED"
    UNSUPPORTED_ROOM_VERSION = "M_UNSUPPORTED_ROOM_VERSION"
    EXCLUSIVE = "M_EXCLUSIVE"
    URL_NOT_SET = "M_URL_NOT_SET"
    USER_DEACTIVATED = "M_USER_DEACTIVATED"
    USER_IN_USE = "M_USER_IN_USE"
    USER_LOCKED = "M_USER_LOCKED"
    USER_SUSPENDED = "M_USER_SUSPENDED"
    WRONG_ROOM_KEYS_VERSION = "M_WRONG_ROOM_KEYS_VERSION"


class SynapseLiteError(Exception):
    """Root of every error that this package raises on purpose."""


class UnavailableError(SynapseLiteError):
    """What a request needs is not there for the moment: the same request may succeed a little later."""

    retry_after_ms = 2000


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


def guests_forbidden() -> MatrixError:
    return MatrixError(403, Errcode.GUEST_ACCESS_FORBIDDEN, "Guest access not allowed")


def not_found(message: str) -> MatrixError:
    return MatrixError(404, Errcode.NOT_FOUND, message)


def too_large(message: str) -> MatrixError:
    return MatrixError(413, Errcode.TOO_LARGE, message)


def limit_exceeded(retry_after_ms: int) -> MatrixError:
    return MatrixError(429, Errcode.LIMIT_EXCEEDED, "Too many requests", {"retry_after_ms": retry_after_ms})
