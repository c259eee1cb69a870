"""Erasing users: all that they have written, uploaded and kept here."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.user_admin import UserAdmin
from synapse_lite.handlers.user_erasure import UserErasure
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.admin.user_selection import ChoiceBody
from synapse_lite.rest.body import optional_text, parameter, read_body
from synapse_lite.tasks.actions.erase_user import EraseParams

MAX_REASON = 1000
MANY_PATH = "/_synapse/admin/v1/erase_users"
PATH = "/_synapse/admin/v1/users/{user_id}/erase"


class UserErasureApi:
    def __init__(self, users: UserAdmin, erasure: UserErasure) -> None:
        self._users = users
        self._erasure = erasure

    def routes(self) -> list[Route]:
        return [
            Route("POST", PATH, self.erase, Access.ADMIN),
            Route("POST", MANY_PATH, self.erase_many, Access.ADMIN),
        ]

    async def erase(self, request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/users/{user_id}/erase`: `reason`, and `dry_run` to count only. Answers with `task_id`."""
        params = _params(user_id, request.json_object(allow_empty=True))
        return {"task_id": await self._users.erase(requester, params, f"POST {PATH}")}

    async def erase_many(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_synapse/admin/v1/erase_users`: the same for all `users`, or for those that fit `select`.

        Answers with `task_id`, and with the number of users.
        """
        body = request.json_object()
        chosen = read_body(ChoiceBody, body).chosen()
        task_id, users = await self._erasure.erase_many(
            requester, chosen, _params("", body), f"POST {MANY_PATH}"
        )
        return {"task_id": task_id, "users": users}


def _params(user_id: str, body: JsonObject) -> EraseParams:
    return EraseParams(
        user_id=user_id,
        reason=optional_text(body, "reason", MAX_REASON),
        dry_run=parameter(body, "dry_run", bool, False),
    )
