"""Addresses of one's account: e-mail, telephone (client-server API, "Adding Account Administrative Contact Information")."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.storage.database import Database
from synapse_lite.storage.user_admin import delete_threepid, threepids_of

MSISDN = "msisdn"


def international_number(country: str, number: str) -> str:
    """Of a telephone number as it is dialled in a country ("GB"): "447700900123". 400 `M_INVALID_PARAM` for what is none."""
    import phonenumbers  # noqa: PLC0415 (the plans of all countries' numbers, for the few who log in so)

    try:
        parsed = phonenumbers.parse(number, country)
    except phonenumbers.NumberParseException:
        raise invalid_param("Unable to parse phone number") from None
    return f"{parsed.country_code}{phonenumbers.national_significant_number(parsed)}"


def canonical_address(medium: str, address: str) -> str:
    """E-mail addresses do not tell capitals from small letters."""
    return address.strip().casefold() if medium == "email" else address


class Threepids:
    """Administrators add them; there is no identity server here, which would have to forget them too."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self, user_id: str) -> list[JsonObject]:
        return [
            {
                "medium": one.medium,
                "address": one.address,
                "validated_at": one.validated_ts,
                "added_at": one.added_ts,
            }
            for one in await self._database.read(threepids_of, user_id)
        ]

    async def delete(self, user_id: str, medium: str, address: str) -> None:
        """Nothing happens when it is none of theirs."""
        await self._database.transact(delete_threepid, user_id, medium, canonical_address(medium, address))
