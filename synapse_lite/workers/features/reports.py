"""What users report to the operators."""

from synapse_lite.handlers.reports import ReportAdmin, Reports
from synapse_lite.rest.admin.reports import ReportsAdminApi
from synapse_lite.rest.client.reports import ReportsApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    limit = core.limits.limiter("rc_reports", core.config.rc_reports)
    reports = Reports(core.requests, core.events, limit, core.clock, core.server_name)
    admin = ReportAdmin(core.requests, core.clock)
    return Feature([*ReportsApi(reports).routes(), *ReportsAdminApi(admin).routes()])
