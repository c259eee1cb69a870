"""Devices of users, for their owners and for administrators."""

from synapse_lite.handlers.cross_signing import CrossSigning
from synapse_lite.handlers.device_cleanup import DeviceCleanup
from synapse_lite.handlers.devices import Devices
from synapse_lite.handlers.remote_keys import RemoteKeys
from synapse_lite.rest.admin.device_cleanup import DeviceCleanupApi
from synapse_lite.rest.admin.devices import AdminDevicesApi
from synapse_lite.rest.client.devices import DevicesApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    devices = Devices(core.requests, core.clock, core.server_name)
    remote = RemoteKeys(core.requests, core.federation.peers, core.clock, core.server_name)
    cross_signing = CrossSigning(core.requests, remote, core.clock, core.server_name)
    return Feature(
        routes=[
            *DevicesApi(devices, core.accounts.auth).routes(),
            *DeviceCleanupApi(DeviceCleanup(core.queue, core.clock, core.server_name), core.clock).routes(),
            *AdminDevicesApi(devices, cross_signing).routes(),
        ]
    )
