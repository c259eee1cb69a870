"""Changes that concern single devices."""

from synapse_lite.storage.database import AtPosition, Transaction
from synapse_lite.storage.stream import Devices, Kind, write_devices


def publish_for_devices(
    txn: Transaction,
    kind: Kind,
    devices: Devices,
    *,
    at_position: AtPosition | None = None,
    by_number: bool = False,
) -> None:
    """One change, however many devices it concerns."""
    if len(devices) == 1:
        ((user_id, device_id),) = devices
        txn.publish(kind, user_id=user_id, device_id=device_id, at_position=at_position, by_number=by_number)
    elif devices:
        txn.publish(kind, content=write_devices(devices), at_position=at_position, by_number=by_number)
