"""Devices, tokens and filters as Synapse's database knows them."""

from collections.abc import Iterable, Iterator

from synapse_lite.storage.synapse.database import SynapseDatabase, SynapseRow, in_batches


def devices(database: SynapseDatabase) -> Iterator[SynapseRow]:
    """With `device_data` where it is the dehydrated one. Cross-signing keys, which look like devices there, are left out."""
    for page in in_batches(database.pages("devices", ("user_id", "device_id"))):
        users = sorted({row["user_id"] for row in page})
        rows = database.among("SELECT * FROM dehydrated_devices WHERE user_id IN", users)
        data = {(row["user_id"], row["device_id"]): row["device_data"] for row in rows}
        for row in page:
            if not row["hidden"]:
                yield {**row, "device_data": data.get((row["user_id"], row["device_id"]))}


def refresh_tokens(database: SynapseDatabase) -> Iterator[SynapseRow]:
    """With `previous`, the token that was given for it and is good until it or its access token is used. Those whose
    successor was used are left out.
    """
    for page in in_batches(database.pages("refresh_tokens", ("id",))):
        ids = [row["id"] for row in page]
        successors = [row["next_token_id"] for row in page if row["next_token_id"] is not None]
        used = _used(database, {*ids, *successors})
        previous = {
            row["next_token_id"]: row["token"]
            for row in database.among("SELECT * FROM refresh_tokens WHERE next_token_id IN", ids)
            if row["next_token_id"] not in used
        }
        for row in page:
            if row["next_token_id"] not in used:
                yield {**row, "previous": previous.get(row["id"])}


def access_tokens(database: SynapseDatabase) -> Iterator[SynapseRow]:
    """With `refresh_token`, which was given out with it."""
    for page in in_batches(database.pages("access_tokens", ("id",))):
        ids = [row["refresh_token_id"] for row in page if row["refresh_token_id"] is not None]
        rows = database.among("SELECT id, token FROM refresh_tokens WHERE id IN", ids)
        tokens = {row["id"]: row["token"] for row in rows}
        for row in page:
            yield {**row, "refresh_token": tokens.get(row["refresh_token_id"])}


def filters(database: SynapseDatabase) -> Iterator[SynapseRow]:
    """`user_id` is the localpart."""
    return database.pages("user_filters", ("user_id", "filter_id"))


def _used(database: SynapseDatabase, ids: Iterable[int]) -> set[int]:
    """Those of the refresh tokens that were used, or whose access token was."""
    wanted = list(ids)
    refreshed = database.among(
        "SELECT id FROM refresh_tokens WHERE next_token_id IS NOT NULL AND id IN", wanted
    )
    spoken = database.among(
        "SELECT refresh_token_id AS id FROM access_tokens WHERE used AND refresh_token_id IN", wanted
    )
    return {row["id"] for row in (*refreshed, *spoken)}
