"""Addresses of one's account: e-mail, telephone (client-server API, "Adding Account Administrative Contact Information")."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.database import Database
from synapse_lite.storage.user_admin import delete_threepid, threepids_of


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
