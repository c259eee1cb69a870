"""Pushers that have something to push: claimed by one, read and written down together."""

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers.push.pushes import PushReader
from synapse_lite.handlers.push.recorder import Recorder
from synapse_lite.handlers.push.sender import RETRY_SECONDS
from synapse_lite.handlers.unread.reader import UnreadReader
from synapse_lite.storage import pushers as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.notices import Reader
from synapse_lite.storage.pushers import ClaimedPusher, Progress, PusherKey
from tests.rest.push.phone import Phone, pusher


@ensureDeferred
async def test_a_claim_is_for_one(phone: Phone) -> None:
    """What happens while somebody pushes is pushed after that; a dead one's claim ends, and loses nothing."""
    phone.gateway.answer = lambda _: (500, {}, {})
    await phone.say()
    await phone.heard()
    await phone.settled()
    now_ms = phone.server.clock.now_ms() + 3_600_000
    database = phone.server.database
    (claimed,) = await database.transact(store.claim_pushers, now_ms, 10)
    await phone.say()
    await phone.follow()
    assert await database.transact(store.claim_pushers, now_ms, 10) == []
    await database.transact(store.record, [Progress(claimed, claimed.pushed_upto, 0, is_done=True)])
    (again,) = await database.transact(store.claim_pushers, now_ms, 10)
    (late,) = await database.transact(store.claim_pushers, now_ms + store.CLAIM_MS, 10)
    assert again == late
    queued = (await database.read(store.queued_for, {"@alice:hs.test": late.pushed_upto}))["@alice:hs.test"]
    assert len(queued) == 2
    await database.transact(store.record, [Progress(late, queued[-1].position, 0, is_done=True)])
    assert await database.transact(store.claim_pushers, now_ms + 10 * store.CLAIM_MS, 10) == []
    assert await database.read(store.queued_for, {"@alice:hs.test": 0}) == {"@alice:hs.test": []}


@ensureDeferred
async def test_a_pusher_that_is_behind(phone: Phone) -> None:
    """What another one of its user has pushed waits for it, and what is queued late is queued for it."""
    await phone.set(pushkey="second", append=True)
    first, second = await _claimed(phone)
    database, user_id = phone.server.database, "@alice:hs.test"
    (waiting,) = (await database.read(store.queued_for, {user_id: first.pushed_upto}))[user_id]
    for one, left in ((first, [waiting]), (second, [])):
        behind = await database.read(store.pushed_members, [waiting.room_nid])
        assert behind == {waiting.room_nid: {user_id: second.pushed_upto}}
        await database.transact(store.record, [Progress(one, waiting.position, 0, is_done=True)])
        assert await database.read(store.queued_for, {user_id: second.pushed_upto}) == {user_id: left}


@ensureDeferred
async def test_a_key_that_is_set_anew_while_it_is_rejected(phone: Phone) -> None:
    """The answer is about the one before: the new one stays, until it is rejected itself."""
    (before,) = await _claimed(phone)
    await phone.set()
    database = phone.server.database
    assert not await database.transact(store.delete_rejected, before)
    await database.transact(store.release, before)
    (again,) = await database.transact(store.claim_pushers, phone.server.clock.now_ms() + 3_600_000, 10)
    assert await database.transact(store.delete_rejected, again)
    assert await phone.pushers() == []


async def _claimed(phone: Phone) -> Sequence[ClaimedPusher]:
    """Alice's pushers with something to push, which failed once."""
    phone.gateway.answer = lambda _: (500, {}, {})
    await phone.say()
    await phone.heard()
    await phone.settled()
    now_ms = phone.server.clock.now_ms() + 3_600_000
    claimed: Sequence[ClaimedPusher] = await phone.server.database.transact(store.claim_pushers, now_ms, 10)
    return claimed


@ensureDeferred
async def test_pushers_of_one_user(phone: Phone) -> None:
    """Each is told what it has not been told, whatever another one has."""
    await phone.say("early")
    await phone.heard()
    await phone.settled()
    await phone.set(pushkey="fresh", append=True)
    await phone.say("news")
    await phone.follow()
    told = [await phone.gateway.next() for _ in range(2)]
    assert {(one["devices"][0]["pushkey"], one["content"]["body"]) for one in told} == {
        ("key", "news"),
        ("fresh", "news"),
    }


@ensureDeferred
async def test_what_is_pushed_at_once_is_written_at_once(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes while a transaction runs waits for one more; who was set anew meanwhile learns it."""
    written = []

    def record(txn: Transaction, progress: Sequence[Progress]) -> set[PusherKey]:
        written.append(len(progress))
        return store_record(txn, progress)

    store_record = store.record
    monkeypatch.setattr(store, "record", record)
    for number in range(3):
        await phone.set(pushkey=str(number), append=True)
    await phone.server.database.transact(
        lambda txn: txn.execute("UPDATE pushers SET pending = TRUE, work = 1 WHERE pushkey <> 'key'")
    )
    claimed: list[ClaimedPusher] = await phone.server.database.transact(
        store.claim_pushers, phone.server.clock.now_ms(), 10
    )
    first, second, third = claimed
    recorder = Recorder(phone.server.database)
    progress = [Progress(one, 7, 1, is_done=True) for one in (first, second, evolve(third, version=0))]
    told = [Deferred.fromCoroutine(recorder.record(one)) for one in progress]
    assert await gatherResults(told) == [True, True, False]
    assert written == [1, 2]
    left = await phone.server.database.read(
        lambda txn: txn.rows("SELECT pushkey FROM pushers WHERE pending AND pushed_upto <> 7")
    )
    assert left == [(third.pusher.pushkey,)]


async def _two_phones(phone: Phone) -> None:
    """Carol has one, too, and bob writes to both."""
    carol = await phone.server.user("carol")
    await phone.server.ok("POST", f"{phone.room}/join", {}, carol)
    await phone.server.ok("POST", "pushers/set", pusher(phone.gateway.url, pushkey="carol's"), carol)
    await phone.say("news")


@ensureDeferred
async def test_what_cannot_be_read_of_one_user(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps nobody else from what there is for them; it is tried again later."""

    def count(_self: UnreadReader, _txn: Transaction, _rules: object, reader: Reader, *_: Any) -> Any:
        if reader.user_id == "@alice:hs.test":
            raise ValueError("a row of theirs cannot be read")
        return {}

    monkeypatch.setattr(UnreadReader, "count_after", count)
    await _two_phones(phone)
    told = await phone.heard()
    assert (told["devices"][0]["pushkey"], told["content"]["body"]) == ("carol's", "news")
    monkeypatch.undo()
    await phone.settled()
    await phone.later(RETRY_SECONDS)
    told = await phone.gateway.next()
    assert (told["devices"][0]["pushkey"], told["content"]["body"]) == ("key", "news")


@ensureDeferred
async def test_what_there_is_for_several_users_is_read_together(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One user more is one statement more: that which counts, until memory knows what it found."""
    asked = []
    work_for = PushReader.work_for

    def watched(reader: PushReader, txn: Transaction, claimed: Sequence[ClaimedPusher], now_ms: int) -> Any:
        numbers = []
        for some in (claimed[:1], claimed, claimed):
            with monkeypatch.context() as patch:
                number = _counted(patch, txn)
                work_for(reader, txn, some, now_ms)
                numbers.append(len(number))
        asked.append((len(claimed), *numbers))
        return work_for(reader, txn, claimed, now_ms)

    monkeypatch.setattr(PushReader, "work_for", watched)
    await _two_phones(phone)
    await phone.heard()
    await phone.gateway.next()
    ((users, one, another, none),) = asked
    assert (users, another, none) == (2, one, one - 1)


def _counted(patch: pytest.MonkeyPatch, counted: Transaction) -> list[str]:
    """The statements that are read in a transaction from now on."""
    sent: list[str] = []
    rows = Transaction.rows

    def counting(txn: Transaction, sql: str, arguments: Any = ()) -> Any:
        if txn is counted:
            sent.append(sql)
        return rows(txn, sql, arguments)

    patch.setattr(Transaction, "rows", counting)
    return sent
