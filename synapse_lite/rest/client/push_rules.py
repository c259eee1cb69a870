"""Push rules: the predefined ones, to read."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import not_found
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.matrix.push_rules import default_push_rules
from synapse_lite.rest.gate import Gate


class PushRulesApi:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/pushrules/", self.rulesets),
            *client_routes("GET", "/pushrules/global/", self.global_rules),
            *client_routes("GET", "/pushrules/global/{kind}/{rule_id}", self.rule),
        ]

    async def rulesets(self, request: Request) -> JsonObject:
        """`GET /_matrix/client/v3/pushrules/`"""
        requester = await self._gate.requester(request, allow_guest=True)
        return default_push_rules(requester.user_id)

    async def global_rules(self, request: Request) -> JsonObject:
        """`GET /_matrix/client/v3/pushrules/global/`"""
        rules: JsonObject = (await self.rulesets(request))["global"]
        return rules

    async def rule(self, request: Request, kind: str, rule_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`"""
        rules = await self.global_rules(request)
        for rule in rules.get(kind, []):
            if rule["rule_id"] == rule_id:
                found: JsonObject = rule
                return found
        raise not_found("Push rule not found")
