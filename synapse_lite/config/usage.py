"""How many users may be active."""

from pydantic import Field

from synapse_lite.config.options import Options


class ReservedThreepid(Options):
    medium: str = Field(description="email or msisdn.")
    address: str = Field(description="The address, or the number.")


class UsageOptions(Options):
    """Active users"""

    limit_usage_by_mau: bool = Field(
        default=False, description="Not more than max_mau_value users of 30 days are served."
    )
    max_mau_value: int = Field(
        default=0,
        ge=0,
        description="How many. Who comes when they are there cannot log in, register, sync or write, and is told "
        "admin_contact.",
    )
    mau_trial_days: int = Field(
        default=0, ge=0, description="For so long a new user is served, and does not count."
    )
    mau_limit_alerting: bool = Field(
        default=True,
        description="Tell users by a server notice while that number is reached; see server_notices.",
    )
    mau_stats_only: bool = Field(
        default=False, description="Count them only: synapse_lite_active_users among the metrics."
    )
    mau_limit_reserved_threepids: tuple[ReservedThreepid, ...] = Field(
        default=(), description="Users with one of these addresses {medium, address} are always served."
    )
