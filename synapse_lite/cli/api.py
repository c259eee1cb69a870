"""Calls of the server's HTTP API, one after the other, for commands and tests."""

import hmac
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from synapse_lite.config.model import Config
from synapse_lite.errors import SynapseLiteError

DEFAULT_URL = "http://localhost:8008"
TIMEOUT = 120.0
_LARGEST_ANSWER = 50 * 2**20
_HERE = frozenset(("localhost", "127.0.0.1", "::1"))


class ApiError(SynapseLiteError):
    """The server refused, or could not be reached (`status` 0)."""

    def __init__(self, status: int, errcode: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.errcode = errcode


def call(
    method: str,
    url: str,
    body: Mapping[str, Any] | None = None,
    *,
    token: str | None = None,
    timeout: float = TIMEOUT,
) -> Any:
    """The JSON of the answer. Raises ApiError unless the status is 2xx."""
    if not url.startswith(("http://", "https://")):
        raise ApiError(0, "", f"{url} should start with http:// or https://")
    request = urllib.request.Request(url, method=method)  # noqa: S310 (scheme checked above)
    if body is not None:
        request.data = orjson.dumps(body)
        request.add_header("Content-Type", "application/json")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with _open(request, timeout) as answer:
            return orjson.loads(answer.read(_LARGEST_ANSWER))
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error) from None
    except (OSError, ValueError) as error:
        raise ApiError(0, "", f"{method} {url}: {error}") from error


def answers(url: str) -> bool:
    """Whether GET gives 200 within a second."""
    try:
        with _open(urllib.request.Request(url), 1.0) as answer:  # noqa: S310 (our own address)
            return bool(answer.status == 200)  # noqa: PLR2004 (OK)
    except OSError:
        return False


def client_url(config: Config) -> str | None:
    """Where the client API listens on this machine, or None."""
    for listener in config.effective_listeners:
        if listener.type == "http" and "client" in listener.resource_names and listener.port:
            return f"{'https' if listener.tls else 'http'}://localhost:{listener.port}"
    return None


def register(
    base_url: str,
    shared_secret: str,
    *,
    username: str,
    password: str,
    admin: bool,
    user_type: str | None = None,
) -> dict[str, Any]:
    """Register by shared secret (admin API `v1/register`): `user_id`, `access_token`, `device_id`, `home_server`."""
    url = f"{base_url.rstrip('/')}/_synapse/admin/v1/register"
    nonce = call("GET", url)["nonce"]
    words = [nonce, username, password, "admin" if admin else "notadmin", *([user_type] if user_type else [])]
    body = {
        "nonce": nonce,
        "username": username,
        "password": password,
        "admin": admin,
        "mac": hmac.new(shared_secret.encode(), "\x00".join(words).encode(), "sha1").hexdigest(),
    }
    if user_type:
        body["user_type"] = user_type
    registered: dict[str, Any] = call("POST", url, body)
    return registered


def _open(request: urllib.request.Request, timeout: float) -> Any:
    """A server of this machine directly: the proxy that the environment names would look for it where the proxy is."""
    is_here = urlsplit(request.full_url).hostname in _HERE
    proxies = urllib.request.ProxyHandler({} if is_here else None)
    return urllib.request.build_opener(proxies).open(request, timeout=timeout)


def _refusal(error: urllib.error.HTTPError) -> ApiError:
    try:
        body = orjson.loads(error.read(_LARGEST_ANSWER))
        errcode, message = str(body["errcode"]), str(body["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        errcode, message = "", str(error.reason)
    return ApiError(error.code, errcode, f"{error.code} {errcode}: {message}")
