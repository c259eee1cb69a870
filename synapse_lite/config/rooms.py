"""Rooms, and how long their data is kept."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from synapse_lite.config.options import NOT_MISSED, Options
from synapse_lite.config.retention import RetentionOptions
from synapse_lite.config.units import DAY, Duration


def _off_is_a_word(value: Any) -> Any:
    """YAML 1.1 reads a bare `off` as false."""
    return "off" if value is False else value


def _type_and_key(value: Any) -> Any:
    """`type`, `[type]` and `[type, state_key]` are all written in `additional_event_types`."""
    match value:
        case str() | [str()]:
            return (value if isinstance(value, str) else value[0], None)
        case [str(), str()]:
            return tuple(value)
        case _:
            raise ValueError("should be a type, or a list of a type and a state key")


StateFilter = Annotated[tuple[str, str | None], BeforeValidator(_type_and_key)]


class PrejoinState(Options):
    disable_default_event_types: bool = Field(
        default=False,
        description="Leave out what is shown by default: name, topic, avatar, join rules, alias, encryption, "
        "creation.",
    )
    additional_event_types: tuple[StateFilter, ...] = Field(
        default=(), description="State types to show as well, with any key or as [type, state_key]."
    )


class DirectoryRule(Options):
    """Patterns may hold * and ?."""

    user_id: str = Field(default="*", description="Who asks.")
    alias: str = Field(default="*", description="The alias; of a room that is published any of its aliases.")
    room_id: str = Field(default="*", description="The room.")
    action: Literal["allow", "deny"] = Field(description="What is done when all three fit: allow or deny.")


class AutoAcceptOptions(Options):
    enabled: bool = Field(default=False, description="Invites are accepted for the users of this server.")
    only_for_direct_messages: bool = Field(default=False, description="Only those to direct chats.")
    only_from_local_users: bool = Field(default=False, description="Only those of users of this server.")
    worker_to_run_on: str | None = Field(
        default=None,
        description="Accepted: it is done where background tasks run.",
        json_schema_extra=NOT_MISSED,
    )


class RemoteRoomLimit(Options):
    enabled: bool = Field(default=False, description="Large rooms of other servers cannot be joined.")
    complexity: float = Field(
        default=1.0,
        ge=0,
        description="What may be: the state events of a room, members included, divided by 500.",
    )
    complexity_error: str = Field(
        default="Your homeserver is unable to join rooms this large or complex. Please speak to your server "
        "administrator, or upgrade your instance to join this room.",
        description="What users are told.",
    )
    admins_can_join: bool = Field(default=False, description="Administrators of the server can.")


class RoomOptions(Options):
    """Rooms"""

    default_room_version: str = Field(default="12", description="Version of new rooms.")
    max_event_delay_duration: Duration | None = Field(
        default=None,
        ge=1,
        description="Longest delay of an event that is sent later (MSC4140); null: none is.",
    )
    enable_search: bool = Field(
        default=True, description="Users may search in what has been said in their rooms."
    )
    default_power_level_content_override: dict[str, dict[str, Any] | None] = Field(
        default={}, description="Power levels of new rooms, by preset (private_chat, public_chat, ...)."
    )
    encryption_enabled_by_default_for_room_type: Annotated[
        Literal["off", "invite", "all"], BeforeValidator(_off_is_a_word)
    ] = Field(default="off", description="New rooms that are encrypted: off, invite (private ones) or all.")
    room_prejoin_state: PrejoinState = Field(
        default=PrejoinState(), description="State that invited users see before they join."
    )
    enable_room_list_search: bool = Field(
        default=True, description="Off: the directory of rooms is empty, and that of other servers too."
    )
    allow_public_rooms_without_auth: bool = Field(
        default=False, description="Anybody may read the directory of rooms, without a token."
    )
    allow_public_rooms_over_federation: bool = Field(
        default=False, description="Other servers may read the directory of rooms."
    )
    filter_timeline_limit: int = Field(
        default=100, ge=-1, description="Highest timeline limit that a filter may ask for; -1: any."
    )
    require_membership_for_aliases: bool = Field(
        default=True, description="Only members of a room may make an alias of it."
    )
    alias_creation_rules: tuple[DirectoryRule, ...] | None = Field(
        default=None,
        description="Who may make which alias: the first of {user_id, alias, room_id, action} that fits decides, "
        "none: no. null: everybody.",
    )
    room_list_publication_rules: tuple[DirectoryRule, ...] | None = Field(
        default=None,
        description="Who may put which room into the directory, in the same way. null: nobody; for everybody: "
        "[{action: allow}].",
    )
    block_non_admin_invites: bool = Field(
        default=False, description="Only admins of the server may invite; users of other servers cannot."
    )
    auto_accept_invites: AutoAcceptOptions = Field(
        default=AutoAcceptOptions(),
        description="Invites that users need not accept themselves: from the day on on which it is switched on.",
    )
    include_profile_data_on_invite: bool = Field(
        default=True, description="Invites of users show the name and avatar of who is invited."
    )
    exclude_rooms_from_sync: tuple[str, ...] = Field(
        default=(), description="Ids of rooms that clients are not told of, though their users are in them."
    )
    limit_remote_rooms: RemoteRoomLimit = Field(
        default=RemoteRoomLimit(), description="Rooms of other servers that are too large for this one."
    )
    forget_rooms_on_leave: bool = Field(
        default=False, description="Who leaves a room, or is kicked or banned, forgets it at once."
    )
    redaction_retention_period: Duration | None = Field(
        default=7 * DAY,
        description="How long the content of redacted events stays in the database; null: for ever.",
    )
    forgotten_room_retention_period: Duration | None = Field(
        default=None,
        description="Purge a room this long after the last local user forgot it; null: never.",
    )
    retention: RetentionOptions = Field(default=RetentionOptions(), description="Message retention.")
