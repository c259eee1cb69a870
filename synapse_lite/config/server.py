"""Name, address, keys, logs and media of the server."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from synapse_lite.config.options import NOT_MISSED, Options
from synapse_lite.config.units import DAY, Duration
from synapse_lite.ids import is_server_name


class OldSigningKey(Options):
    key: str = Field(description="Public key, unpadded base64.")
    expired_ts: int = Field(ge=0, description="When it was last used, in milliseconds since 1970.")


class KeyServer(Options):
    server_name: str = Field(description="Name of the notary.")
    verify_keys: dict[str, str] = Field(default={}, description="Its public keys by key id.")
    accept_keys_insecurely: bool = Field(
        default=False,
        description="Accepted: what a notary without verify_keys says is believed as far as its certificate goes.",
        json_schema_extra=NOT_MISSED,
    )


class Log(Options):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="Lowest level that is logged."
    )
    format: Literal["console", "json"] = Field(
        default="console", description="console for people, json for machines: one object a line."
    )
    file: Path | None = Field(default=None, description="File to append to; standard error when null.")


class ServerOptions(Options):
    """Server"""

    server_name: str = Field(
        description="Domain of user IDs, rooms and events: example.com, or example.com:8448. It cannot be "
        "changed later."
    )
    public_baseurl: str | None = Field(
        default=None,
        description="URL at which clients reach the server; https://<server_name>/ when null. "
        "/.well-known/matrix/client answers only when it is set.",
    )
    web_client_location: str | None = Field(
        default=None, description="URL to which / leads, such as that of a web client."
    )
    serve_server_wellknown: bool = Field(
        default=False, description="Answer /.well-known/matrix/server with <server_name>:443."
    )
    extra_well_known_client_content: dict[str, Any] = Field(
        default={}, description="Keys added to /.well-known/matrix/client."
    )
    admin_contact: str | None = Field(
        default=None,
        description="How to reach the operator: mailto:…, a user ID, or the URL of a page. "
        "/.well-known/matrix/support answers only when it is set.",
    )
    hs_disabled: bool = Field(
        default=False,
        description="Nobody but administrators is served, and nobody registers. Other servers are answered.",
    )
    hs_disabled_message: str = Field(
        default="Homeserver is currently blocked", description="What users are told then, with admin_contact."
    )
    default_identity_server: str | None = Field(
        default=None, description="URL of an identity server, told in /.well-known/matrix/client."
    )
    user_agent_suffix: str | None = Field(
        default=None, description="Added to the User-Agent of requests to others."
    )
    pid_file: Path | None = Field(default=None, description="File that gets the process id.")
    daemonize: bool = Field(default=False, description="Run in the background.")
    soft_file_limit: int = Field(
        default=0, ge=0, description="Open files, one for each connection; 0: as many as the system allows."
    )
    enable_metrics: bool = Field(
        default=False, description="Serve metrics on metrics listeners and resources."
    )
    report_stats: bool = Field(
        default=False,
        description="Accepted for compatibility: usage is never reported to anyone.",
        json_schema_extra=NOT_MISSED,
    )
    log_config: Path | None = Field(
        default=None, description="YAML file for Python's logging.config.dictConfig, instead of log."
    )
    log: Log = Field(default=Log(), description="Simple logging (an option of synapse-lite).")

    @field_validator("server_name")
    @classmethod
    def _valid_name(cls, name: str) -> str:
        if not is_server_name(name):
            raise ValueError("should be a host name or address, with a port or without")
        return name

    @field_validator("public_baseurl")
    @classmethod
    def _valid_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not url.startswith(("https://", "http://")):
            raise ValueError("should start with https:// or http://")
        return url.rstrip("/") + "/"

    @property
    def base_url(self) -> str:
        """`public_baseurl`, or what it means when it is not set; ends in a slash."""
        return self.public_baseurl or f"https://{self.server_name}/"


class KeyOptions(Options):
    """Keys"""

    signing_key_path: Path = Field(
        default=Path("signing.key"),
        description="File of the signing key; <server_name>.signing.key beside the first configuration file "
        "when absent. Made when missing.",
    )
    old_signing_keys: dict[str, OldSigningKey] = Field(
        default={},
        description="Retired keys by key id: {key, expired_ts}. A new signing key is taken over from one of them.",
    )
    key_refresh_interval: Duration = Field(
        default=DAY, description="How long other servers may keep our published keys."
    )
    trusted_key_servers: tuple[KeyServer, ...] = Field(
        default=(KeyServer(server_name="matrix.org"),),
        description="Notaries that are asked for the keys of other servers.",
    )
    suppress_key_server_warning: bool = Field(
        default=False, description="Accepted: there is no such warning.", json_schema_extra=NOT_MISSED
    )
