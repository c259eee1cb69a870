"""Application services (application service API): whose names are theirs, for whom they speak, what they are told and asked."""

from synapse_lite.handlers.app_services.services import AppServices
from synapse_lite.handlers.app_services.sessions import AppServiceSessions

__all__ = ["AppServiceSessions", "AppServices"]
