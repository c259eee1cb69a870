"""Redacting a user changes no room: random histories, with whoever may still do what.

Redactions in the name of somebody who is gone hang on the past of the room. Whatever happened since, nothing of
that past may come back with them.
"""

from typing import Any

import pytest
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import MatrixError
from synapse_lite.rooms.values import Write
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.tasks.actions.redact_all_events import ROOM
from synapse_lite.tasks.outcome import Next
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.sync_server import SyncServer
from tests.tasks.redacting import ADMIN, Moderation

NEWCOMER = "@newcomer:hs.test"
STRANGER = "@stranger:hs.test"
USERS = (ALICE, BOB, MALLORY, NEWCOMER, STRANGER, ADMIN)
EXAMPLES = 25

people = st.sampled_from(USERS)
levels = st.sampled_from([-1, 0, 50, 100])


@frozen
class Act:
    """Something that somebody tries; the room may refuse it."""

    kind: str
    sender: str
    state_key: str | None
    content: JsonObject


def _member(sender: str, target: str, membership: str) -> Act:
    return Act("m.room.member", sender, target, {"membership": membership})


def _levels(sender: str, users: dict[str, int], rest: dict[str, int]) -> Act:
    return Act("m.room.power_levels", sender, "", {"users": users, **rest})


acts = st.one_of(
    st.builds(lambda who, n: Act("m.room.message", who, None, {"body": str(n)}), people, st.integers(0, 9)),
    st.builds(lambda n: Act("m.room.message", MALLORY, None, {"body": str(n)}), st.integers(0, 9)),
    st.builds(_member, people, people, st.sampled_from(["join", "leave", "ban", "invite"])),
    st.builds(lambda who: _member(who, who, "join"), people),
    st.builds(lambda who: _member(ALICE, who, "ban"), st.sampled_from([MALLORY, BOB])),
    st.builds(
        lambda rule: Act("m.room.join_rules", ALICE, "", {"join_rule": rule}),
        st.sampled_from(["public", "invite", "knock"]),
    ),
    st.builds(lambda who, n: Act("m.room.topic", who, "", {"topic": str(n)}), people, st.integers(0, 9)),
    st.builds(
        lambda rule: Act("m.room.history_visibility", ALICE, "", {"history_visibility": rule}),
        st.sampled_from(["shared", "joined", "invited"]),
    ),
    st.builds(
        _levels,
        st.sampled_from([ALICE, BOB]),
        st.dictionaries(st.sampled_from([ALICE, BOB, MALLORY, ADMIN]), levels),
        st.dictionaries(
            st.sampled_from(["events_default", "redact", "ban", "invite", "state_default"]), levels
        ),
    ),
)


@pytest.mark.parametrize("version", ["10", "11", "12"])
@ensureDeferred
async def test_redacting_a_user_changes_no_room(server: SyncServer, version: str) -> None:
    """State, what everybody may do, and what a client holds are the same before and after; the content is gone."""
    moderation = Moderation(server.database)
    moderation.world = server.world
    await moderation.open()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(history=st.lists(acts, max_size=25), admin_is_in=st.booleans(), batch=st.sampled_from([2, 100]))
    def check(history: list[Act], admin_is_in: bool, batch: int) -> None:
        run = _Run(server, moderation, version)
        blockingCallFromThread(
            reactor, lambda: Deferred.fromCoroutine(run.check(history, batch, admin_is_in=admin_is_in))
        )

    await deferToThread(check)


@frozen
class _Run:
    server: SyncServer
    moderation: Moderation
    version: str

    async def check(self, history: list[Act], batch: int, *, admin_is_in: bool) -> None:
        room = await self.server.room(
            ALICE, BOB, MALLORY, *([ADMIN] if admin_is_in else []), version=self.version
        )
        for act in history:
            await self.server.do(self._try, room, act)
        clients = {user_id: await self._client(room, user_id) for user_id in USERS}
        before = await self.server.do(self._facts, room)
        extremities = await self.moderation.extremities(room)

        task_id = await self.moderation.ask(rooms=(room.room_id,))
        lease = await self.moderation.claim()
        while isinstance(await self.moderation.step(lease, batch, process=self.server.world), Next):
            pass
        task = await self.moderation.task(task_id)
        assert task.error is None
        (report,) = (await self.moderation.reports(task)).values()
        assert report["failed"] == 0, await self.moderation.failures(task)
        assert await self.server.do(self._facts, room) == before
        assert await self.server.do(self._left, room) == []
        assert len(await self.moderation.extremities(room)) == len(extremities)
        if report["may_soft_fail"] or not await self.server.do(self._may_send, room, report["issuer"]):
            assert await self.moderation.extremities(room) == extremities
        for user_id, (token, state) in clients.items():
            assert await self._after(room, user_id, token, state) == state
        assert len(await self.moderation.items(task, ROOM)) == 1

    def _try(self, txn: Transaction, room: Room, act: Act) -> bool:
        draft = self.server.world.draft(act.kind, act.sender, act.content, state_key=act.state_key)
        (result,) = self.server.world.appender.append(txn, [Write(room.nid, draft)])
        return not isinstance(result, MatrixError)

    def _may_send(self, txn: Transaction, room: Room, user_id: str) -> bool:
        """Without sending it."""
        outcome = txn.attempt(
            lambda txn: self._abort(txn, room, Act("m.room.message", user_id, None, {"body": "?"}))
        )
        assert isinstance(outcome, _Tried)
        return outcome.allowed

    def _abort(self, txn: Transaction, room: Room, act: Act) -> None:
        raise _Tried(self._try(txn, room, act))

    def _facts(self, txn: Transaction, room: Room) -> dict[str, Any]:
        """The current state, its summary, and what everybody may do."""
        facts: dict[str, Any] = {
            "state": txn.rows(
                "SELECT type, state_key, event_nid FROM current_state WHERE room_nid = %s ORDER BY 1, 2",
                (room.nid,),
            ),
            "members": txn.rows(
                "SELECT user_id, membership, event_nid FROM memberships WHERE room_nid = %s ORDER BY 1",
                (room.nid,),
            ),
            "snapshot": self.server.world.state.whole(
                txn, txn.value("SELECT snapshot_nid FROM rooms WHERE room_nid = %s", (room.nid,))
            ),
            "summary": txn.rows("SELECT * FROM room_summary WHERE room_nid = %s", (room.nid,)),
        }
        for user_id in USERS:
            for act in (
                Act("m.room.message", user_id, None, {"body": "?"}),
                _member(user_id, user_id, "join"),
                Act("m.room.topic", user_id, "", {"topic": "?"}),
            ):
                outcome = txn.attempt(lambda txn, act=act: self._abort(txn, room, act))  # type: ignore[misc]
                assert isinstance(outcome, _Tried)
                facts[f"{user_id} {act.kind}"] = outcome.allowed
        return facts

    def _left(self, txn: Transaction, room: Room) -> list[Any]:
        """What of the user's events still has its content."""
        return txn.rows(
            "SELECT event_id FROM events e WHERE sender = %s AND room_nid = %s AND type <> 'm.room.redaction'"
            " AND (state_key IS NULL OR membership = 'join')"
            " AND NOT EXISTS (SELECT FROM redactions d WHERE d.target_nid = e.event_nid AND d.applied)",
            (MALLORY, room.nid),
        )

    async def _client(self, room: Room, user_id: str) -> tuple[str, dict[str, str]]:
        """The token and the state of the room that a first sync gives."""
        answer = await self.server.sync(user_id, full_state=True)
        return answer["next_batch"], _apply(answer, room, {})

    async def _after(self, room: Room, user_id: str, token: str, state: dict[str, str]) -> dict[str, str]:
        """The state that the client holds when it has followed what came since, and what a new one gets."""
        followed = _apply(await self.server.sync(user_id, token), room, state)
        assert _apply(await self.server.sync(user_id), room, {}) == followed
        return followed


class _Tried(Exception):  # noqa: N818 (undoes what was tried)
    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed


def _apply(answer: JsonObject, room: Room, state: dict[str, str]) -> dict[str, str]:
    """The state events of the room, by type and state key, after an answer."""
    known = dict(state)
    joined = answer.get("rooms", {}).get("join", {}).get(room.room_id, {})
    for part in ("state", "timeline"):
        for event in joined.get(part, {}).get("events", ()):
            if "state_key" in event:
                known[f"{event['type']} {event['state_key']}"] = event["event_id"]
    return known
