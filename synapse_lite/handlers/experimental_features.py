"""Experimental features, turned on and off by administrators for single users."""

from collections.abc import Mapping

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.handlers.user_admin import CHANGE, check_local
from synapse_lite.matrix.experimental_features import DEFAULTS, features_of
from synapse_lite.storage import experimental_features as store
from synapse_lite.storage.database import Database


class ExperimentalFeatures:
    """A user of another server is 400 `M_UNKNOWN`. `server_name` is ours."""

    def __init__(self, database: Database, server_name: str) -> None:
        self._database = database
        self._server_name = server_name

    async def of(self, user_id: str) -> JsonObject:
        """All that there are, and whether the user has them."""
        check_local(user_id, self._server_name, CHANGE)
        enabled = features_of(await self._database.read(store.read_features, user_id))
        return {name: name in enabled for name in DEFAULTS}

    async def set(self, user_id: str, features: Mapping[str, bool]) -> None:
        """Those that are named. 400 for one that there is not, 404 for an unknown user."""
        check_local(user_id, self._server_name, CHANGE)
        for name in features:
            if name not in DEFAULTS:
                raise MatrixError(
                    400, Errcode.UNKNOWN, f"{name!r} is not recognised as a valid experimental feature."
                )
        if not await self._database.transact(store.set_features, user_id, features):
            raise not_found("User not found")
