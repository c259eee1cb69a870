"""All options of the server, in the groups in which the sample shows them."""

from pathlib import Path

from synapse_lite.config.accounts import AccountOptions, AutoJoinOptions, RegistrationOptions
from synapse_lite.config.app_services import AppServiceOptions
from synapse_lite.config.caches import CacheOptions
from synapse_lite.config.consent import ConsentOptions
from synapse_lite.config.database import DatabaseOptions
from synapse_lite.config.experimental import ExperimentalOptions
from synapse_lite.config.federation import FederationOptions
from synapse_lite.config.listeners import Listener, ListenerOptions
from synapse_lite.config.media import MediaOptions
from synapse_lite.config.options import asks_for_nothing
from synapse_lite.config.outbound import OutboundOptions
from synapse_lite.config.presence import PresenceOptions
from synapse_lite.config.push import PushOptions
from synapse_lite.config.rate_limits import RateLimitOptions
from synapse_lite.config.rooms import RoomOptions
from synapse_lite.config.server import KeyOptions, ServerOptions
from synapse_lite.config.server_notices import ServerNoticeOptions
from synapse_lite.config.synapse_options import IGNORED
from synapse_lite.config.usage import UsageOptions
from synapse_lite.config.user_directory import UserDirectoryOptions
from synapse_lite.config.voip import VoipOptions
from synapse_lite.config.workers import WorkerOptions


class Config(
    ServerOptions,
    UsageOptions,
    ListenerOptions,
    DatabaseOptions,
    CacheOptions,
    KeyOptions,
    OutboundOptions,
    FederationOptions,
    MediaOptions,
    RegistrationOptions,
    AutoJoinOptions,
    AccountOptions,
    AppServiceOptions,
    RoomOptions,
    PushOptions,
    PresenceOptions,
    RateLimitOptions,
    UserDirectoryOptions,
    VoipOptions,
    ServerNoticeOptions,
    ConsentOptions,
    ExperimentalOptions,
    WorkerOptions,
):
    """One process's configuration: the main file merged with the worker's."""

    @property
    def effective_listeners(self) -> tuple[Listener, ...]:
        return self.worker_listeners if self.is_worker else self.listeners

    @property
    def effective_pid_file(self) -> Path | None:
        return self.worker_pid_file if self.is_worker else self.pid_file

    @property
    def effective_log_config(self) -> Path | None:
        return self.worker_log_config or self.log_config if self.is_worker else self.log_config

    @property
    def ignored(self) -> tuple[str, ...]:
        """Options in use that Synapse has and this server does not implement: those known to us unless they are at their default, or ask for nothing."""
        fields = type(self).model_fields
        changed = {
            name
            for name in self.model_fields_set & fields.keys()
            if getattr(self, name) != fields[name].default
        }
        used = changed | {path for path, value in self.undeclared() if not asks_for_nothing(value)}
        return tuple(sorted({path for path in used if _is_known(path)} | {*self.unused()}))

    @property
    def unknown(self) -> tuple[str, ...]:
        """Options in use that neither Synapse nor this server has: mostly typing mistakes."""
        return tuple(sorted(path for path, _ in self.undeclared() if not _is_known(path)))


def _is_known(path: str) -> bool:
    """Synapse has it: of experimental features we know only those that are here."""
    return path in IGNORED or path.startswith("experimental_features.")
