"""Experimental features of single users."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json, invalid_param
from synapse_lite.handlers.experimental_features import ExperimentalFeatures
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.body import parameter

PATH = "/_synapse/admin/v1/experimental_features/{user_id}"


class ExperimentalFeaturesApi:
    def __init__(self, features: ExperimentalFeatures) -> None:
        self._features = features

    def routes(self) -> list[Route]:
        return [
            Route("GET", PATH, self.show, Access.ADMIN),
            Route("PUT", PATH, self.set, Access.ADMIN),
        ]

    async def show(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/experimental_features/{user_id}`"""
        return {"features": await self._features.of(user_id)}

    async def set(self, request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`PUT /_synapse/admin/v1/experimental_features/{user_id}`: those that are not named stay as they are."""
        features: JsonObject = parameter(request.json_object(), "features", dict)
        if not features:
            raise invalid_param("You must provide features to set.")
        if not all(isinstance(enabled, bool) for enabled in features.values()):
            raise bad_json("Parameter 'features' must be an object of booleans")
        await self._features.set(user_id, features)
        return {}
