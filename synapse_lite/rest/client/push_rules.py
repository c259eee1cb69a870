"""Push rules: reading and changing one's own."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.push_rules import PushRules
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.body import parameter

RULE = "/pushrules/global/{kind}/{rule_id}"


class PushRulesApi:
    def __init__(self, push_rules: PushRules) -> None:
        self._push_rules = push_rules

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/pushrules/", self.rulesets, Access.GUEST),
            *client_routes("GET", "/pushrules/global/", self.global_rules, Access.GUEST),
            *client_routes("GET", RULE, self.rule, Access.GUEST),
            *client_routes("PUT", RULE, self.put, Access.USER),
            *client_routes("DELETE", RULE, self.delete, Access.USER),
            *client_routes("GET", f"{RULE}/enabled", self.enabled, Access.GUEST),
            *client_routes("PUT", f"{RULE}/enabled", self.put_enabled, Access.USER),
            *client_routes("GET", f"{RULE}/actions", self.actions, Access.GUEST),
            *client_routes("PUT", f"{RULE}/actions", self.put_actions, Access.USER),
        ]

    async def rulesets(self, _request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/pushrules/`"""
        return await self._push_rules.rules(requester.user_id)

    async def global_rules(self, _request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/pushrules/global/`"""
        rules: JsonObject = (await self._push_rules.rules(requester.user_id))["global"]
        return rules

    async def rule(self, _request: Request, requester: Requester, kind: str, rule_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`"""
        return await self._push_rules.rule(requester.user_id, kind, rule_id)

    async def put(self, request: Request, requester: Requester, kind: str, rule_id: str) -> JsonObject:
        """`PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`"""
        place = request.query("before"), request.query("after")
        await self._push_rules.put(requester.user_id, kind, rule_id, request.json_object(), *place)
        return {}

    async def delete(self, _request: Request, requester: Requester, kind: str, rule_id: str) -> JsonObject:
        """`DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`"""
        await self._push_rules.delete(requester.user_id, kind, rule_id)
        return {}

    async def enabled(self, request: Request, requester: Requester, kind: str, rule_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`"""
        return {"enabled": (await self.rule(request, requester, kind, rule_id))["enabled"]}

    async def put_enabled(
        self, request: Request, requester: Requester, kind: str, rule_id: str
    ) -> JsonObject:
        """`PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`"""
        enabled = parameter(request.json_object(), "enabled", bool)
        await self._push_rules.change(requester.user_id, kind, rule_id, "enabled", enabled)
        return {}

    async def actions(self, request: Request, requester: Requester, kind: str, rule_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`"""
        return {"actions": (await self.rule(request, requester, kind, rule_id))["actions"]}

    async def put_actions(
        self, request: Request, requester: Requester, kind: str, rule_id: str
    ) -> JsonObject:
        """`PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`"""
        actions = parameter(request.json_object(), "actions", list)
        await self._push_rules.change(requester.user_id, kind, rule_id, "actions", actions)
        return {}
