"""User-interactive authentication."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import MatrixError, forbidden, limit_exceeded
from synapse_lite.handlers.uia import DUMMY, PASSWORD, Challenge, InteractiveAuth
from synapse_lite.storage.database import Database
from tests.http.memory import ManualClock

USER = "@user:hs.test"
SECRET = "correct horse"
ONE = [(PASSWORD,)]
BOTH = [(PASSWORD, DUMMY)]


async def _check_password(user: str, password: str) -> str:
    if password == "limited":
        raise limit_exceeded(1)
    if password != SECRET:
        raise forbidden("Invalid username or password")
    return user


@pytest.fixture
def auth(database: Database) -> InteractiveAuth:
    return InteractiveAuth(database, ManualClock(), _check_password)


def _proof(password: str = SECRET, user: str = USER, **more: str) -> JsonObject:
    identifier = {"type": "m.id.user", "user": user}
    return {"type": PASSWORD, "identifier": identifier, "password": password, **more}


async def _challenge(
    auth: InteractiveAuth, proof: JsonObject | None, flows: list[tuple[str, ...]], operation: str = "delete"
) -> JsonObject:
    challenge = await auth.check(operation, proof, flows, user_id=USER)
    assert isinstance(challenge, Challenge)
    return challenge.body()


async def _refusal(auth: InteractiveAuth, proof: JsonObject, operation: str = "delete") -> tuple[int, str]:
    with pytest.raises(MatrixError) as caught:
        await auth.check(operation, proof, ONE, user_id=USER)
    return caught.value.status, caught.value.errcode


@ensureDeferred
async def test_the_first_answer_lists_the_flows(auth: InteractiveAuth) -> None:
    """With a session, without an error."""
    body = await _challenge(auth, None, BOTH)
    session = body.pop("session")
    assert session
    assert body == {"flows": [{"stages": [PASSWORD, DUMMY]}], "params": {}, "completed": []}


@ensureDeferred
async def test_a_proof_opens_the_operation_once(auth: InteractiveAuth) -> None:
    """The session is used up by it."""
    session = (await _challenge(auth, None, ONE))["session"]
    assert await auth.check("delete", _proof(session=session), ONE, user_id=USER) is None
    assert await _refusal(auth, _proof(session=session)) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_a_proof_needs_no_session(auth: InteractiveAuth) -> None:
    """Clients that know the flow may prove at once, also with the old field `user`."""
    assert await auth.check("delete", _proof(), ONE, user_id=USER) is None
    old = {"type": PASSWORD, "user": USER, "password": SECRET}
    assert await auth.check("delete", old, ONE, user_id=USER) is None
    assert await auth.check("register", {"type": DUMMY}, [(DUMMY,)]) is None


@ensureDeferred
async def test_a_wrong_proof_is_a_new_challenge(auth: InteractiveAuth) -> None:
    """In the same session, with the reason; also for the right password of somebody else."""
    session = (await _challenge(auth, None, ONE))["session"]
    for proof in (_proof("wrong", session=session), _proof(user="@other:hs.test", session=session)):
        body = await _challenge(auth, proof, ONE)
        assert (body["session"], body["errcode"], body["completed"]) == (session, "M_FORBIDDEN", [])
    assert await auth.check("delete", _proof(session=session), ONE, user_id=USER) is None


@ensureDeferred
async def test_stages_add_up(auth: InteractiveAuth) -> None:
    """In any order; a request without a stage tells how far one is."""
    body = await _challenge(auth, {"type": DUMMY}, BOTH)
    assert body["completed"] == [DUMMY]
    session = body["session"]
    assert (await _challenge(auth, {"session": session}, BOTH))["completed"] == [DUMMY]
    assert (await _challenge(auth, _proof("wrong", session=session), BOTH))["completed"] == [DUMMY]
    assert await auth.check("delete", _proof(session=session), BOTH, user_id=USER) is None


@ensureDeferred
async def test_a_session_is_bound_to_its_operation(auth: InteractiveAuth) -> None:
    """A proof for one thing does not open another."""
    session = (await _challenge(auth, None, ONE, "delete device A"))["session"]
    assert await _refusal(auth, _proof(session=session), "delete device B") == (403, "M_FORBIDDEN")


UNREADABLE: list[tuple[JsonObject, tuple[int, str]]] = [
    ({"type": "m.login.recaptcha"}, (400, "M_INVALID_PARAM")),
    ({"type": DUMMY}, (400, "M_INVALID_PARAM")),
    ({"type": 1}, (400, "M_BAD_JSON")),
    ({"type": PASSWORD, "user": USER}, (400, "M_MISSING_PARAM")),
    ({"type": PASSWORD, "password": SECRET}, (400, "M_MISSING_PARAM")),
    ({"type": PASSWORD, "password": SECRET, "identifier": {"type": "org.other.id"}}, (400, "M_UNKNOWN")),
    (_proof("x" * 513), (400, "M_BAD_JSON")),
    (_proof(session="never"), (400, "M_UNKNOWN")),
    (_proof(session="\0"), (400, "M_BAD_JSON")),
    (_proof("limited"), (429, "M_LIMIT_EXCEEDED")),
]


@ensureDeferred
async def test_what_cannot_be_read_is_refused(auth: InteractiveAuth) -> None:
    """Stages that nobody asked for, missing and over-long fields, unknown sessions, too many tries."""
    for proof, refusal in UNREADABLE:
        assert await _refusal(auth, proof) == refusal


@ensureDeferred
async def test_no_secret_is_stored(auth: InteractiveAuth, database: Database) -> None:
    """Neither right nor wrong passwords are in the stored session."""
    session = (await _challenge(auth, None, BOTH))["session"]
    await _challenge(auth, _proof("wrong guess", session=session), BOTH)
    await _challenge(auth, _proof(session=session), BOTH)
    ((row,),) = await database.read(lambda txn: txn.rows("SELECT t::text FROM uia_sessions AS t"))
    assert PASSWORD in row
    assert SECRET not in row
    assert "wrong guess" not in row
