"""The audit trail: what administrators changed."""

from synapse_lite.handlers.audit import AuditLog
from synapse_lite.rest.admin.audit import AuditApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    return Feature(AuditApi(AuditLog(core.requests, core.clock)).routes())
