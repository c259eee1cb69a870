"""Redacting all events of a user: by an administrator everywhere, by a ban in its room."""

from synapse_lite.handlers.redactions import RedactionsHandler
from synapse_lite.handlers.user_selection import UserSelection
from synapse_lite.rest.admin.redactions import RedactionsApi
from synapse_lite.rest.admin.user_selection import UserSelectionApi
from synapse_lite.rooms.contributors.redact_on_ban import RedactOnBanContributor
from synapse_lite.rooms.redact_on_ban import RedactOnBan
from synapse_lite.tasks.actions.redact_on_ban import go_on
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    selection = UserSelection(core.requests)
    return Feature(
        routes=[
            *RedactionsApi(RedactionsHandler(core.queue, selection), core.clock).routes(),
            *UserSelectionApi(selection).routes(),
        ],
        contributors=(RedactOnBanContributor(RedactOnBan(core.events, core.state), go_on),),
    )
