"""Keys, backups and waiting messages as Synapse's database knows them."""

from collections.abc import Iterator
from itertools import groupby

from synapse_lite.storage.synapse.database import SynapseDatabase, SynapseRow

DEVICE = ("user_id", "device_id")


def device_keys(database: SynapseDatabase) -> Iterator[SynapseRow]:
    return database.pages("e2e_device_keys_json", DEVICE)


def one_time_keys(database: SynapseDatabase) -> Iterator[list[SynapseRow]]:
    """All of a device at a time, the oldest first."""
    rows = database.pages("e2e_one_time_keys_json", (*DEVICE, "algorithm", "key_id"))
    for _, of_device in groupby(rows, key=lambda row: (row["user_id"], row["device_id"])):
        yield sorted(of_device, key=lambda row: row["ts_added_ms"])


def fallback_keys(database: SynapseDatabase) -> Iterator[SynapseRow]:
    return database.pages("e2e_fallback_keys_json", (*DEVICE, "algorithm"))


def cross_signing_keys(database: SynapseDatabase) -> Iterator[SynapseRow]:
    """Of each user and usage the newest; those of other servers' users, too."""
    rows = database.pages("e2e_cross_signing_keys", ("user_id", "keytype", "stream_id"))
    for _, of_usage in groupby(rows, key=lambda row: (row["user_id"], row["keytype"])):
        *_, newest = of_usage
        yield newest


def signatures(database: SynapseDatabase) -> Iterator[SynapseRow]:
    keys = ("user_id", "target_user_id", "target_device_id", "key_id")
    return database.pages("e2e_cross_signing_signatures", keys)


def backups(database: SynapseDatabase) -> Iterator[SynapseRow]:
    return database.pages("e2e_room_keys_versions", ("user_id", "version"))


def room_keys(database: SynapseDatabase) -> Iterator[SynapseRow]:
    return database.pages("e2e_room_keys", ("user_id", "version", "room_id", "session_id"))


def messages(database: SynapseDatabase) -> Iterator[SynapseRow]:
    """Those of a device in their order."""
    return database.pages("device_inbox", (*DEVICE, "stream_id"))


def outgoing_messages(database: SynapseDatabase) -> Iterator[SynapseRow]:
    """To devices of other servers' users; those of a server in their order."""
    return database.pages("device_federation_outbox", ("destination", "stream_id", "messages_json"))


def untold_devices(database: SynapseDatabase) -> Iterator[SynapseRow]:
    """Devices of whose last change other servers have not heard."""
    yield from database.rows(
        "SELECT DISTINCT user_id, device_id FROM device_lists_outbound_pokes WHERE NOT sent"
    )
    yield from database.rows(
        "SELECT DISTINCT user_id, device_id FROM device_lists_changes_in_room WHERE NOT converted_to_destinations"
    )
