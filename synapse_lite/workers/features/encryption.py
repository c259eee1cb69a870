"""End-to-end encryption: keys of devices and users, messages between devices, backups of room keys."""

from synapse_lite.handlers.cross_signing import CrossSigning
from synapse_lite.handlers.dehydrated_devices import DehydratedDevices
from synapse_lite.handlers.device_keys import DeviceKeys
from synapse_lite.handlers.device_lists import DeviceLists
from synapse_lite.handlers.inboxes import Inboxes
from synapse_lite.handlers.key_backup import KeyBackup
from synapse_lite.handlers.key_counts import KeyCountsReader
from synapse_lite.handlers.public_keys import PublicKeys
from synapse_lite.handlers.remote_keys import RemoteKeys
from synapse_lite.handlers.sync.device_lists import DeviceListsSection
from synapse_lite.handlers.sync.key_counts import KeysNeeded, OneTimeKeyCounts, UnusedFallbackKeys
from synapse_lite.handlers.sync.to_device import ToDeviceSection
from synapse_lite.handlers.to_device import ToDevice
from synapse_lite.rest.client.cross_signing import CrossSigningApi
from synapse_lite.rest.client.dehydrated_devices import DehydratedDevicesApi
from synapse_lite.rest.client.device_keys import DeviceKeysApi
from synapse_lite.rest.client.key_backup import KeyBackupApi
from synapse_lite.rest.client.to_device import ToDeviceApi
from synapse_lite.rooms.contributors.remote_keys import ForgetRemoteKeys
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    public = PublicKeys(core.requests, core.log)
    remote = RemoteKeys(core.requests, core.federation.peers, core.clock, core.server_name)
    keys = DeviceKeys(core.requests, public, remote, core.server_name)
    cross_signing = CrossSigning(core.requests, remote, core.clock, core.server_name)
    to_device = ToDevice(
        core.requests,
        core.writer,
        core.clock,
        core.federation.recipients,
        core.wake_federation,
        core.dropped,
    )
    uploads = core.limits.limiter("rc_key_uploads", core.config.rc_key_uploads)
    counts = KeyCountsReader(core.requests)
    inboxes = Inboxes(core.requests)
    for listener in (counts, inboxes, public):
        core.log.listen(listener.on_changes)
    return Feature(
        routes=[
            *DeviceKeysApi(keys, DeviceLists(core.requests), uploads).routes(),
            *CrossSigningApi(cross_signing, core.accounts.auth, uploads).routes(),
            *ToDeviceApi(to_device).routes(),
            *KeyBackupApi(KeyBackup(core.requests)).routes(),
            *DehydratedDevicesApi(DehydratedDevices(core.requests, core.clock), uploads).routes(),
        ],
        sync_sections=(
            ToDeviceSection(to_device, inboxes),
            DeviceListsSection(core.rooms.joined, core.events),
            OneTimeKeyCounts(counts),
            UnusedFallbackKeys(counts),
            KeysNeeded(counts),
        ),
        contributors=(ForgetRemoteKeys(core.server_name),),
    )
