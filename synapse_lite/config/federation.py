"""Speaking with other homeservers."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from synapse_lite.config.options import UNUSED, Options
from synapse_lite.config.outbound import Network
from synapse_lite.config.units import HOUR, SECOND, Duration


class Retries(Options):
    """How other servers are asked, and how long they are left alone when they do not answer."""

    client_timeout: Annotated[Duration, Field(ge=SECOND)] = Field(
        default=60 * SECOND, description="How long a server has to take a transaction."
    )
    destination_min_retry_interval: Annotated[Duration, Field(ge=1)] = Field(
        default=5 * SECOND, description="How long it is left alone after it failed once."
    )
    destination_retry_multiplier: float = Field(
        default=2, ge=1, description="How much longer after each further time."
    )
    destination_max_retry_interval: Annotated[Duration, Field(ge=1)] = Field(
        default=4 * HOUR, description="At most so long; it is asked at once when it is heard of."
    )
    max_short_retry_delay: Duration = Field(
        default=2 * SECOND,
        description="Accepted: a request is made once, and it is the queue that tries again.",
        json_schema_extra=UNUSED,
    )
    max_long_retry_delay: Duration = Field(
        default=60 * SECOND, description="Accepted, and without effect.", json_schema_extra=UNUSED
    )
    max_short_retries: int = Field(
        default=3, description="Accepted, and without effect.", json_schema_extra=UNUSED
    )
    max_long_retries: int = Field(
        default=10, description="Accepted, and without effect.", json_schema_extra=UNUSED
    )


def _number_as_text(value: Any) -> Any:
    """YAML reads a bare `1.2` as a number."""
    return str(value) if isinstance(value, int | float) else value


class FederationOptions(Options):
    """Federation"""

    federation_domain_whitelist: tuple[str, ...] | None = Field(
        default=None, description="The only servers to federate with; null: all, empty: none."
    )
    federation_whitelist_endpoint_enabled: bool = Field(
        default=False,
        description="Tell users which servers these are, at /_synapse/client/v1/config/federation_whitelist.",
    )
    allow_profile_lookup_over_federation: bool = Field(
        default=True, description="Tell other servers the profiles of users; rooms show them all the same."
    )
    federation_ip_range_blacklist: tuple[Network, ...] | None = Field(
        default=None, description="Instead of ip_range_blacklist, for other homeservers."
    )
    federation_verify_certificates: bool = Field(
        default=True,
        description="Check the certificates of other servers; switch it off in test setups only.",
    )
    federation_certificate_verification_whitelist: tuple[str, ...] = Field(
        default=(), description="Hosts whose certificates are not checked; * stands for any characters."
    )
    federation_custom_ca_list: tuple[Path, ...] = Field(
        default=(),
        description="Files with the authorities (PEM) that are trusted for federation, instead of the system's.",
    )
    federation_client_minimum_tls_version: Annotated[
        Literal["1", "1.1", "1.2", "1.3"], BeforeValidator(_number_as_text)
    ] = Field(default="1.2", description="Lowest version of TLS towards other servers. 1 and 1.1 mean 1.2.")
    federation: Retries = Field(
        default=Retries(),
        description="Patience with servers that do not answer. Shorter by default than Synapse's.",
    )
    federation_sender_instances: tuple[str, ...] = Field(
        default=(),
        description="The processes that send to other servers; those that run background tasks when empty.",
    )
    send_federation: bool = Field(
        default=True,
        description="The old way: false leaves it to workers whose worker_app is synapse.app.federation_sender.",
    )
