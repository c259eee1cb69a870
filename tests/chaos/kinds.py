"""Every task that somebody may ask for: what it is about, and what must be so when it is done, to the row.

A new task is one line in `KINDS`. `ELSEWHERE` names those whose faults have a scene of their own.
"""

from collections.abc import Callable, Mapping

from attrs import frozen

from synapse_lite.tasks import registry
from synapse_lite.tasks.actions.accept_invite import ACCEPT_INVITE
from synapse_lite.tasks.actions.carry_bans import CARRY_BANS
from synapse_lite.tasks.actions.deactivate_user import DEACTIVATE_USER
from synapse_lite.tasks.actions.delete_device_messages import DELETE_DEVICE_MESSAGES
from synapse_lite.tasks.actions.delete_media import DELETE_MEDIA
from synapse_lite.tasks.actions.delete_old_otks import DELETE_OLD_OTKS
from synapse_lite.tasks.actions.erase_user import ERASE_USER
from synapse_lite.tasks.actions.erase_users import ERASE_USERS
from synapse_lite.tasks.actions.expired_messages import PURGE_EXPIRED_MESSAGES
from synapse_lite.tasks.actions.finish_join import FINISH_JOIN
from synapse_lite.tasks.actions.media_cleanup import CLEAN_MEDIA
from synapse_lite.tasks.actions.noop import NOOP
from synapse_lite.tasks.actions.prune_devices import PRUNE_DEVICES
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM
from synapse_lite.tasks.actions.quarantine_media import QUARANTINE_MEDIA
from synapse_lite.tasks.actions.rebuild import REBUILD
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS
from synapse_lite.tasks.actions.redact_on_ban import REDACT_ON_BAN
from synapse_lite.tasks.actions.redact_users import REDACT_USERS
from synapse_lite.tasks.actions.remove_guests import REMOVE_GUESTS
from synapse_lite.tasks.actions.retry_leave import RETRY_LEAVE
from synapse_lite.tasks.actions.shutdown_room import SHUTDOWN_AND_PURGE_ROOM
from synapse_lite.tasks.actions.shutdown_rooms import SHUTDOWN_ROOMS
from synapse_lite.tasks.actions.statistics import STATISTICS
from synapse_lite.tasks.actions.update_join_states import UPDATE_JOIN_STATES
from synapse_lite.tasks.actions.withdraw_invites import WITHDRAW_INVITES
from tests.chaos import subjects_of_accounts as accounts
from tests.chaos import subjects_of_media as media
from tests.chaos import subjects_of_rooms as rooms
from tests.chaos.stage import Stage, Subject


@frozen
class Kind:
    """`seed` makes something for a task of this action to be about, which no other one touches.

    `of_server`: it is about all that is like it, so that there is one at a time. `follower`: who does the work for it, so that a
    kill of whoever has that one strikes it.
    """

    action: str
    seed: Callable[[Stage], Subject]
    of_server: bool = False
    follower: str | None = None


KINDS = (
    Kind(REDACT_ALL_EVENTS.action, rooms.spammer),
    Kind(REDACT_USERS.action, rooms.spammers),
    Kind(REDACT_ON_BAN.action, rooms.banned),
    Kind(REMOVE_GUESTS.action, rooms.visited),
    Kind(WITHDRAW_INVITES.action, rooms.inviting),
    Kind(SHUTDOWN_ROOMS.action, rooms.bad_rooms),
    Kind(SHUTDOWN_AND_PURGE_ROOM.action, rooms.bad_room),
    Kind(UPDATE_JOIN_STATES.action, rooms.renamed_user),
    Kind(CARRY_BANS.action, rooms.upgraded_room),
    Kind(ERASE_USER.action, accounts.erased_user),
    Kind(ERASE_USERS.action, accounts.erased_users),
    Kind(DEACTIVATE_USER.action, accounts.closed_account),
    Kind(PRUNE_DEVICES.action, accounts.stale_devices),
    Kind(DELETE_OLD_OTKS.action, accounts.old_keys, of_server=True),
    Kind(DELETE_DEVICE_MESSAGES.action, accounts.inbox),
    Kind(QUARANTINE_MEDIA.action, media.shown),
    Kind(DELETE_MEDIA.action, media.uploaded),
    Kind(REBUILD.action, rooms.counted_room, of_server=True, follower=STATISTICS.name),
)

MEDIA_KINDS = (
    Kind(QUARANTINE_MEDIA.action, media.shown_again),
    Kind(DELETE_MEDIA.action, media.copied, of_server=True),
    Kind(CLEAN_MEDIA.action, media.cleaned, of_server=True),
)
"""More of what may be done to media; the last one is periodic, and deletes files."""

ELSEWHERE: Mapping[str, str] = {
    NOOP.action: "changes nothing",
    ACCEPT_INVITE.action: "asks other servers, of which there are none here; a step changes nothing but its cursor",
    FINISH_JOIN.action: "asks other servers, of which there are none here; a step changes nothing but its cursor",
    RETRY_LEAVE.action: "asks other servers, of which there are none here; a step changes nothing but its cursor",
    "resync_room": "asks other servers, of which there are none here; a step changes nothing but its cursor",
    PURGE_HISTORY.action: "tests/chaos/purge.py",
    PURGE_EXPIRED_MESSAGES.action: "periodic, and does nothing but to ask for purges of histories",
    PURGE_ROOM.action: "tests/chaos/purge.py, as the last phase of a room that is shut down",
}


def actions_without_a_kind() -> set[str]:
    """Of what is not periodic: neither in `KINDS` nor in `ELSEWHERE`."""
    specs = [entry.spec for entry in registry.CATALOGUE if isinstance(entry, registry.Binding)]
    asked = {spec.action for spec in specs if spec.every_seconds is None}
    return asked - {kind.action for kind in KINDS} - ELSEWHERE.keys()
