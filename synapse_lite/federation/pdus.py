"""Events as other servers send them: their shape, their signatures, their hash.

(server-server API, "Checks performed on receipt of a PDU", 1 to 3; "Validating hashes and signatures on received events")
"""

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import MatrixError, SynapseLiteError, bad_json
from synapse_lite.federation.keyring import Keyring, Signed, signed_event
from synapse_lite.federation.turns import map_in_turns
from synapse_lite.ids import domain_of
from synapse_lite.matrix.event import Event, content_hash, essence, id_by_essence
from synapse_lite.matrix.event_format import check_format
from synapse_lite.matrix.redaction import redact
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.types import MEMBER


@frozen
class Refused:
    """Why an event is dropped; `event_id` where that can be told."""

    error: MatrixError
    event_id: str | None = None


Checked = Event | Refused
"""The event, cut down to what a redaction leaves where its hash is wrong; or why there is none."""


@frozen
class _Shaped:
    """`pdu` may be the event as it came, or without what its hash does not cover any more."""

    event: Event
    signed: Sequence[Signed]


class PduChecker:
    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def check(self, pdu: Any, version: RoomVersion, room_id: str) -> Event:
        """Raises `MatrixError` for what is to be dropped."""
        (checked,) = await self.check_all([pdu], version, room_id)
        if isinstance(checked, Refused):
            raise checked.error
        return checked

    async def check_signature(self, event: Event, server_name: str) -> None:
        """Raises `MatrixError` unless the server signed the event, whoever else has to."""
        await self._keyring.verify(signed_event(event.pdu, event.version, server_name))

    async def check_all(self, pdus: Sequence[Any], version: RoomVersion, room_id: str) -> list[Checked]:
        """Of each the event. The keys of all their servers are asked for together."""
        shaped = await map_in_turns(lambda pdu: _shape(pdu, version, room_id), pdus)
        wanted = [one.signed for one in shaped if isinstance(one, _Shaped)]
        failures = iter(await self._keyring.verify_all([one for signed in wanted for one in signed]))
        return [
            _first([next(failures) for _ in one.signed], one.event) if isinstance(one, _Shaped) else one
            for one in shaped
        ]


def _first(failures: Sequence[MatrixError | None], event: Event) -> Checked:
    failure = next((failure for failure in failures if failure is not None), None)
    return event if failure is None else Refused(failure, event.event_id)


def _shape(pdu: Any, version: RoomVersion, room_id: str) -> _Shaped | Refused:
    try:
        plain = _read_plain(pdu, version)
    except MatrixError as error:
        return Refused(error)
    covered = essence(plain, version)
    event = Event.from_pdu(plain, version, id_by_essence(plain, covered, version))
    if event.room_id != room_id:
        return Refused(bad_json("The event is of another room"), event.event_id)
    return _Shaped(event, [signed_event(plain, version, name, covered) for name in signers(event)])


def read_pdu(pdu: Any, version: RoomVersion) -> Event:
    """The event; nothing of `unsigned` is taken over. Raises 400 `M_BAD_JSON`, 413 `M_TOO_LARGE`."""
    return Event.from_pdu(_read_plain(pdu, version), version)


def _read_plain(pdu: Any, version: RoomVersion) -> JsonObject:
    """What there is to be kept of it."""
    if not isinstance(pdu, dict):
        raise bad_json("An event must be a JSON object")
    plain: JsonObject = {key: value for key, value in pdu.items() if key != "unsigned"}
    check_format(plain, version)
    if plain["type"] != "m.room.create" and not plain["prev_events"]:
        raise bad_json("Only the create event has no prev_events")
    hashes = plain["hashes"]
    if hashes.get("sha256") != content_hash(plain, version):
        plain = redact(plain, version)
    return plain


def signers(event: Event) -> list[str]:
    """The servers whose signatures the event must carry."""
    names: list[str] = []
    if not _is_third_party_invite(event):
        names.append(domain_of(event.sender))
    if not event.version.event_id_is_hash:
        names.append(domain_of(event.event_id))
    authorised_via = event.content.get("join_authorised_via_users_server")
    if event.version.restricted and event.membership == "join" and isinstance(authorised_via, str):
        names.append(domain_of(authorised_via))
    return list(dict.fromkeys(names))


def _is_third_party_invite(event: Event) -> bool:
    """It is signed by the server that the invited user came from, not by the sender's."""
    return event.type == MEMBER and event.membership == "invite" and "third_party_invite" in event.content


def event_id_of(pdu: Any, version: RoomVersion) -> str | None:
    """As far as it can be told, of whatever was sent."""
    try:
        return read_pdu(pdu, version).event_id
    except (SynapseLiteError, KeyError, TypeError, ValueError):
        return None
