"""The application services of the configuration, and whose names are whose."""

import re
from collections.abc import Iterable, Sequence
from typing import Self

from synapse_lite.config import app_services as options
from synapse_lite.config.app_services import Registration
from synapse_lite.config.experimental import ExperimentalFeatures
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.access_tokens import hash_token
from synapse_lite.matrix.app_service import AppService, Namespace

NO_FEATURES = ExperimentalFeatures()


class AppServices:
    """Those that are registered, in the order of the configuration."""

    def __init__(self, services: Sequence[AppService] = ()) -> None:
        self.all = tuple(services)
        self._by_token = {one.token_hash: one for one in services}
        self._by_id = {one.id: one for one in services}

    @classmethod
    def of(
        cls,
        registrations: Iterable[Registration],
        server_name: str,
        features: ExperimentalFeatures = NO_FEATURES,
    ) -> Self:
        return cls([_service(one, server_name, features) for one in registrations])

    def by_token(self, token: str) -> AppService | None:
        return self._by_token.get(hash_token(token)) if self._by_token else None

    def by_id(self, service_id: str) -> AppService | None:
        return self._by_id.get(service_id)

    def check_user(self, user_id: str, service: AppService | None) -> None:
        """400 `M_EXCLUSIVE` where a user of that id is not `service`'s to make: that of somebody without one, where it is None."""
        if service is not None and not service.has_user(user_id):
            raise _exclusive("Invalid user localpart for this application service.")
        if any(one.keeps_user(user_id) for one in self.all if one is not service):
            raise _exclusive("This user ID is reserved by an application service.")

    def check_alias(self, alias: str, service: AppService | None) -> None:
        """400 `M_EXCLUSIVE` where the alias is not `service`'s, or not that of somebody without one, to make or delete."""
        if service is not None and not service.has_alias(alias):
            raise _exclusive("This application service has not reserved this kind of alias.")
        if any(one.keeps_alias(alias) for one in self.all if one is not service):
            raise _exclusive("This alias is reserved by an application service.")


def _exclusive(message: str) -> MatrixError:
    return MatrixError(400, Errcode.EXCLUSIVE, message)


def _service(registration: Registration, server_name: str, features: ExperimentalFeatures) -> AppService:
    names, ephemeral_keys = registration.namespaces, _ephemeral_keys(registration)
    return AppService(
        id=registration.id,
        url=registration.url or None,
        sender=registration.sender(server_name),
        token_hash=hash_token(registration.as_token),
        hs_token=registration.hs_token,
        users=_namespaces(names.users),
        aliases=_namespaces(names.aliases),
        rooms=_namespaces(names.rooms),
        protocols=registration.protocols or (),
        is_rate_limited=registration.rate_limited,
        ephemeral_keys=ephemeral_keys,
        hears_devices=bool(ephemeral_keys) and features.msc2409_to_device_messages_enabled,
        hears_keys=registration.msc3202 and features.msc3202_transaction_extensions,
    )


def _ephemeral_keys(registration: Registration) -> tuple[str, ...]:
    if registration.push_ephemeral:
        return ("ephemeral", "de.sorunome.msc2409.ephemeral")
    return ("ephemeral",) if registration.receive_ephemeral else ()


def _namespaces(given: Iterable[options.Namespace] | None) -> tuple[Namespace, ...]:
    return tuple(Namespace(re.compile(one.regex), one.exclusive) for one in given or ())
