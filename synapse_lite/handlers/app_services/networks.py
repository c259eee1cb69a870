"""Networks behind application services (application service API, "Third-party networks")."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import not_found
from synapse_lite.handlers.app_services.calls import ServiceCalls
from synapse_lite.handlers.app_services.services import AppServices
from synapse_lite.handlers.at_once import all_at_once
from synapse_lite.http.client import RequestError
from synapse_lite.http.flights import Flights
from synapse_lite.matrix.app_service import AppService

ASKED_AT_ONCE = 100
REMEMBERED_SECONDS = 3600.0
FAILURE_SECONDS = 60.0  # for which a service that said nothing of a network is not asked for it again
USER, LOCATION = "user", "location"
_NAMES = {USER: "userid", LOCATION: "alias"}
logger = logging.getLogger(__name__)


@frozen
class _Remembered:
    """`description` None: there was none. `until`: monotonic."""

    description: JsonObject | None
    until: float


class Networks:
    """What services say is looked at, as clients rely on its shape. One that is away says nothing."""

    def __init__(self, services: AppServices, calls: ServiceCalls, clock: Clock) -> None:
        self._services = [one for one in services.all if one.url is not None and one.protocols]
        self._calls = calls
        self._clock = clock
        self._remembered: dict[tuple[str, str], _Remembered] = {}
        self._flights: Flights[tuple[str, str], Any] = Flights()

    async def protocols(self) -> JsonObject:
        """Descriptions by the name of the protocol; those of which no service tells are left out."""
        names = list(dict.fromkeys(name for one in self._services for name in one.protocols))
        found = await all_at_once(self._describe(name) for name in names)
        return {name: one for name, one in zip(names, found, strict=True) if one is not None}

    async def protocol(self, name: str) -> JsonObject:
        """404 `M_NOT_FOUND` where no service knows it."""
        found = await self._describe(name)
        if found is None:
            raise not_found(f"Unknown protocol {name}")
        return found

    async def search(
        self, kind: str, protocol: str | None, fields: Sequence[tuple[str, str]]
    ) -> list[JsonObject]:
        """Users or locations (`kind`) that services find by the fields; without `protocol` by what they are called here.

        404 `M_NOT_FOUND` for a protocol of no service.
        """
        asked = [one for one in self._services if protocol is None or protocol in one.protocols]
        if protocol is not None and not asked:
            raise not_found(f"Unknown protocol {protocol}")
        path = f"/_matrix/app/v1/thirdparty/{kind}"
        path += "" if protocol is None else f"/{quote(protocol, safe='')}"
        path += f"?{urlencode(fields)}" if fields else ""
        found = await all_at_once(self._ask(one, path) for one in asked)
        return [shown for answer in found for shown in _results(answer, _NAMES[kind])]

    async def _describe(self, name: str) -> JsonObject | None:
        """The first description, with the instances of all."""
        asked = [one for one in self._services if name in one.protocols]
        found = [one for one in await all_at_once(self._told(one, name) for one in asked) if one is not None]
        if not found:
            return None
        return found[0] | {"instances": [instance for one in found for instance in one["instances"]]}

    async def _told(self, service: AppService, name: str) -> JsonObject | None:
        key, now = (service.id, name), self._clock.monotonic()
        remembered = self._remembered.get(key)
        if remembered is None or remembered.until <= now:
            path = f"/_matrix/app/v1/thirdparty/protocol/{quote(name, safe='')}"
            description = _description(await self._ask(service, path), service.id)
            lifetime = FAILURE_SECONDS if description is None else REMEMBERED_SECONDS
            remembered = self._remembered[key] = _Remembered(description, now + lifetime)
        return remembered.description

    async def _ask(self, service: AppService, path: str) -> object:
        """None where nothing can be had."""
        key = (service.id, path)
        if len(self._flights) >= ASKED_AT_ONCE and key not in self._flights:
            return None
        return await self._flights.join(key, lambda: self._answer(service, path))

    async def _answer(self, service: AppService, path: str) -> object:
        try:
            answer = await self._calls.ask(service, "GET", path)
        except RequestError as error:
            logger.info("%s is not asked for %s: %s", service.id, path, error)
            return None
        said = answer.json() if answer.is_ok else None
        try:
            orjson.dumps(said)
        except orjson.JSONEncodeError:  # deeper than is written, though it can be read
            return None
        return said


def _description(said: object, service_id: str) -> JsonObject | None:
    """As `GET /thirdparty/protocol/{protocol}` shows it; None for another shape."""
    shape: dict[str, Callable[[Any], bool]] = {
        "user_fields": _are_texts,
        "location_fields": _are_texts,
        "icon": _is_text,
        "field_types": _are_field_types,
    }
    if not isinstance(said, dict) or not all(fits(said.get(key)) for key, fits in shape.items()):
        return None
    instances = said.get("instances")
    shown = [
        {
            **_only(one, ("desc", "icon", "fields", "network_id")),
            "instance_id": f"{service_id}|{one['network_id']}",
        }
        for one in (instances if isinstance(instances, list) else [])
        if _is_instance(one)
    ]
    return {**_only(said, shape), "instances": shown}


def _results(said: object, name: str) -> list[JsonObject]:
    keys = (name, "protocol", "fields")
    return [
        _only(one, keys)
        for one in (said if isinstance(said, list) else [])
        if isinstance(one, dict)
        and _is_text(one.get(name))
        and _is_text(one.get("protocol"))
        and isinstance(one.get("fields"), dict)
    ]


def _only(given: JsonObject, keys: Iterable[str]) -> JsonObject:
    return {key: given[key] for key in keys if key in given}


def _is_instance(one: object) -> bool:
    return (
        isinstance(one, dict)
        and _is_text(one.get("desc"))
        and _is_text(one.get("network_id"))
        and isinstance(one.get("fields"), dict)
        and _is_text(one.get("icon", ""))
    )


def _are_field_types(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(one, dict) and _is_text(one.get("regexp")) and _is_text(one.get("placeholder"))
        for one in value.values()
    )


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_text(value: object) -> bool:
    return isinstance(value, str)
