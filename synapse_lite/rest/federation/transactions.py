"""Events and the rest, from other servers."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.federation.transactions import Transactions
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route

MAX_TRANSACTION = 200 * 64 * 1024
"""Bytes: 50 events of 64 KiB, and thrice as much of EDUs."""
MAX_TXN_ID = 255


class TransactionsApi:
    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def routes(self) -> list[Route]:
        path = "/_matrix/federation/v1/send/{txn_id}"
        return [
            Route("PUT", pattern, self.send, Access.SERVER, MAX_TRANSACTION) for pattern in (path, f"{path}/")
        ]

    async def send(self, request: Request, origin: str, txn_id: str) -> JsonObject:
        """`PUT /_matrix/federation/v1/send/{txnId}`"""
        if not 0 < len(txn_id) <= MAX_TXN_ID:
            raise invalid_param(f"A transaction id has at most {MAX_TXN_ID} characters")
        return await self._transactions.receive(origin, txn_id, request.exact_json_object())
