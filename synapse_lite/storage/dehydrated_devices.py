"""Dehydrated devices: of each user at most one, without a session, that receives keys while nobody is logged in."""

from typing import NamedTuple

from synapse_lite.storage.database import Transaction


class DehydratedDevice(NamedTuple):
    """`device_data` is JSON, encrypted by its owner."""

    device_id: str
    device_data: str


def find_dehydrated(txn: Transaction, user_id: str) -> DehydratedDevice | None:
    row = txn.row(
        "SELECT device_id, dehydrated FROM devices WHERE user_id = %s AND dehydrated IS NOT NULL", (user_id,)
    )
    return DehydratedDevice(*row) if row else None


def mark_dehydrated(txn: Transaction, user_id: str, device_id: str, device_data: str) -> None:
    """The device becomes the dehydrated one; there must be no other."""
    txn.execute(
        "UPDATE devices SET dehydrated = %s WHERE user_id = %s AND device_id = %s",
        (device_data, user_id, device_id),
    )
