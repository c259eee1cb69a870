"""Where the server listens and what it serves there."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from synapse_lite.config.options import UNUSED, Options

ResourceName = Literal[
    "client", "consent", "federation", "health", "keys", "media", "metrics", "openid", "replication", "static"
]
Port = Annotated[int, Field(ge=0, le=65535)]

_ALL_INTERFACES = ("::", "0.0.0.0")  # noqa: S104 (Synapse's default, documented)
_ALL_IPV4 = ("0.0.0.0",)  # noqa: S104 (Synapse's default for metrics, documented)


def _file_mode(value: Any) -> Any:
    """Text is octal: YAML 1.1 reads `0o666` as text and `0666` as the octal number."""
    if not isinstance(value, str):
        return value
    try:
        return int(value, 8)
    except ValueError:
        raise ValueError("should be an octal number, such as 0660") from None


class Resource(Options):
    names: tuple[ResourceName, ...] = Field(
        default=(),
        description="What to serve: client (with the admin API and media), federation (with keys, media and "
        "openid), keys, media, openid, metrics, health (always served). consent, replication and static are "
        "accepted and serve nothing.",
    )
    compress: bool = Field(
        default=False,
        description="Accepted: answers are not compressed here, a reverse proxy does it.",
        json_schema_extra=UNUSED,
    )


class Listener(Options):
    """A port or a Unix socket, and the resources on it."""

    port: Port | None = Field(default=None, description="TCP port. Exactly one of port and path is given.")
    path: Path | None = Field(default=None, description="Unix socket.")
    mode: Annotated[int, BeforeValidator(_file_mode)] = Field(
        default=0o666, description="Access rights of the Unix socket."
    )
    bind_addresses: tuple[str, ...] = Field(
        default=_ALL_INTERFACES,
        description="Addresses to listen on; all by default. bind_address gives a single one.",
    )
    type: Literal["http", "metrics", "manhole"] = Field(
        description="http; metrics serves /metrics for Prometheus; manhole is accepted and not opened."
    )
    tls: bool = Field(default=False, description="Serve TLS with tls_certificate_path.")
    x_forwarded: bool = Field(
        default=False,
        description="Trust X-Forwarded-For and X-Forwarded-Proto of a reverse proxy; true on a Unix socket.",
    )
    tag: str | None = Field(
        default=None, description="Accepted, and without effect.", json_schema_extra=UNUSED
    )
    resources: tuple[Resource, ...] = Field(default=(), description="What to serve: {names, compress}.")
    additional_resources: dict[str, Any] = Field(
        default={}, description="Python modules by path; accepted and not loaded.", json_schema_extra=UNUSED
    )

    @model_validator(mode="before")
    @classmethod
    def _default_by_kind(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        where = [values.get(key) for key in ("port", "path") if values.get(key) is not None]
        if len(where) != 1:
            raise ValueError("should have exactly one of port and path")
        full = {"x_forwarded": "path" in values, **values}
        if address := full.pop("bind_address", None):
            full["bind_addresses"] = [*(full.get("bind_addresses") or ()), address]
        if not full.get("bind_addresses"):
            full["bind_addresses"] = _ALL_IPV4 if full.get("type") == "metrics" else _ALL_INTERFACES
        return full

    def unused(self, prefix: str = "") -> Iterator[str]:
        yield from super().unused(prefix)
        if self.type == "manhole":
            yield f"{prefix}manhole"

    @property
    def resource_names(self) -> frozenset[str]:
        return frozenset(name for resource in self.resources for name in resource.names)


class ListenerOptions(Options):
    """Listeners"""

    listeners: tuple[Listener, ...] = Field(
        default=(), description="Where the main process listens. Without any it listens nowhere."
    )
    worker_listeners: tuple[Listener, ...] = Field(
        default=(), description="The same for a worker, in the worker's file."
    )
    tls_certificate_path: Path | None = Field(
        default=None,
        validate_default=True,
        description="Certificate chain (PEM) for listeners with tls: true.",
    )
    tls_private_key_path: Path | None = Field(
        default=None, validate_default=True, description="Private key (PEM) of that certificate."
    )

    @field_validator("tls_certificate_path", "tls_private_key_path")
    @classmethod
    def _needed_for_tls(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        every = (*info.data.get("listeners", ()), *info.data.get("worker_listeners", ()))
        if path is None and any(listener.tls for listener in every):
            raise ValueError("is required by a listener with tls: true")
        return path
