"""Tasks about what is in rooms."""

from collections.abc import Sequence

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.redact_on_ban import REDACT_EVENTS
from synapse_lite.storage import accounts
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import Kind
from synapse_lite.tasks.actions.carry_bans import CARRY_BANS, CarryBansParams
from synapse_lite.tasks.actions.rebuild import REBUILD, RebuildParams
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS, RedactParams
from synapse_lite.tasks.actions.redact_on_ban import REDACT_ON_BAN, RedactOnBanParams
from synapse_lite.tasks.actions.redact_users import REDACT_USERS, RedactUsersParams
from synapse_lite.tasks.actions.remove_guests import REMOVE_GUESTS, RemoveGuestsParams
from synapse_lite.tasks.actions.shutdown_room import SHUTDOWN_AND_PURGE_ROOM, ShutdownParams
from synapse_lite.tasks.actions.shutdown_rooms import SHUTDOWN_ROOMS, ShutdownRoomsParams
from synapse_lite.tasks.actions.update_join_states import UPDATE_JOIN_STATES, UpdateJoinStatesParams
from synapse_lite.tasks.actions.withdraw_invites import WITHDRAW_INVITES, WithdrawInvitesParams
from tests.chaos.stage import Outcome, Stage, Subject, count, nids
from tests.processes.site import SERVER
from tests.tasks.remains import MEMORY, columns

ROOMS = 4
SPAMMERS = 6
MESSAGES = 60  # of each spammer in each room
MEMBERS = 40
BANS = 400
GUESTS = 90
RENAMED_IN = 60
COUNTED = 1500
MESSAGE = "m.room.message"
ALL_COMPLETE = {"failed": 0, "cancelled": 0, "pending_already": 0}


def spammer(stage: Stage) -> Subject:
    user, other, rooms = _flooded(stage, 1, SPAMMERS)
    params = RedactParams(user_id=user[0], event_types=(MESSAGE,))
    return _redacted(
        Subject(REDACT_ALL_EVENTS, params, {}, _nothing), user, other, rooms, SPAMMERS * MESSAGES
    )


def spammers(stage: Stage) -> Subject:
    users, other, rooms = _flooded(stage, SPAMMERS, 1)
    redaction = RedactParams(user_id=users[0], event_types=(MESSAGE,))
    params = RedactUsersParams(user_ids=tuple(users), redaction=redaction)
    return _redacted(Subject(REDACT_USERS, params, {}, _nothing), users, other, rooms, MESSAGES)


def banned(stage: Stage) -> Subject:
    """Each event of theirs has the ban for its redaction, and nobody else's has any."""
    (user,), other, rooms = _flooded(stage, 1, ROOMS * SPAMMERS)
    room = rooms[0]
    content = {"membership": "ban", REDACT_EVENTS: True}
    stage.send(room, [stage.world.draft("m.room.member", other, content, state_key=user)])
    ban = "SELECT event_id FROM events WHERE room_nid = %s AND membership = 'ban'"
    params = RedactOnBanParams(
        room_id=room.room_id, ban=stage.do(lambda txn: str(txn.value(ban, (room.nid,))))
    )
    redacted = 1 + ROOMS * SPAMMERS * MESSAGES  # with the join

    def read(txn: Transaction) -> Outcome:
        by_ban = (
            "redactions r JOIN events e ON e.event_nid = r.target_nid WHERE r.room_nid = %s AND r.applied"
        )
        told = f"stream WHERE room_nid = %s AND kind = {Kind.REDACTED:d}"
        return {
            "theirs": count(txn, f"{by_ban} AND e.sender = %s", room.nid, user),
            "of others": count(txn, f"{by_ban} AND e.sender <> %s", room.nid, user),
            "told": count(txn, told, room.nid),
        }

    expected = {"theirs": redacted, "of others": 0, "told": redacted}
    return Subject(REDACT_ON_BAN, params, expected, read, {"redacted": redacted})


def visited(stage: Stage) -> Subject:
    """Each guest leaves by one event, and members stay."""
    owner, member = stage.user("owner"), stage.user("member")
    guests = [stage.user("guest") for _ in range(GUESTS)]
    stage.do(lambda txn: txn.execute("UPDATE users SET is_guest = TRUE WHERE user_id = ANY(%s)", (guests,)))
    room = stage.room(owner, member, *guests)
    params = RemoveGuestsParams(room_id=room.room_id, cause=f"$closed:{room.nid}")

    def read(txn: Transaction) -> Outcome:
        return {
            "leaves": count(txn, "events WHERE room_nid = %s AND membership = 'leave'", room.nid),
            "joined": count(txn, "memberships WHERE room_nid = %s AND membership = 'join'", room.nid),
        }

    result = {"left": GUESTS, "failed_to_leave": 0}
    return Subject(REMOVE_GUESTS, params, {"leaves": GUESTS, "joined": 2}, read, result)


def inviting(stage: Stage) -> Subject:
    """Each invite is withdrawn by one event; those of others stay."""
    user, other = stage.user("inviter"), stage.user("other")
    room = stage.room(other, user)
    invited = [stage.user("invited") for _ in range(GUESTS)]
    for sender, users in ((user, invited), (other, [stage.user("guest")])):
        invite = {"membership": "invite"}
        stage.send(room, [stage.world.draft("m.room.member", sender, invite, state_key=one) for one in users])

    def read(txn: Transaction) -> Outcome:
        return {
            "leaves": count(txn, "events WHERE room_nid = %s AND membership = 'leave'", room.nid),
            "invited": count(txn, "memberships WHERE room_nid = %s AND membership = 'invite'", room.nid),
        }

    result = {"withdrawn": GUESTS, "failed_to_withdraw": 0}
    params = WithdrawInvitesParams(user_id=user)
    return Subject(WITHDRAW_INVITES, params, {"leaves": GUESTS, "invited": 1}, read, result)


def bad_rooms(stage: Stage) -> Subject:
    rooms = [_crowded(stage) for _ in range(ROOMS)]
    named = tuple(room.room_id for room in rooms)
    params = ShutdownRoomsParams(room_ids=named, shutdown=ShutdownParams(room_id=named[0], block=True))
    return _shut(stage, Subject(SHUTDOWN_ROOMS, params, {}, _nothing), rooms)


def bad_room(stage: Stage) -> Subject:
    room = _crowded(stage)
    params = ShutdownParams(room_id=room.room_id, block=True)
    return _shut(stage, Subject(SHUTDOWN_AND_PURGE_ROOM, params, {}, _nothing), [room])


def renamed_user(stage: Stage) -> Subject:
    """Every room shows the new name, by one event."""
    owner, user = stage.user("owner"), stage.user("renamed")
    rooms = [stage.room(owner, user) for _ in range(RENAMED_IN)]

    def rename(profile: JsonObject) -> JsonObject:
        return {**profile, "displayname": "Another"}

    stage.do(accounts.change_profile, user, rename)

    def read(txn: Transaction) -> Outcome:
        joins = "events WHERE room_nid = ANY(%s) AND sender = %s AND type = 'm.room.member'"
        shown = "memberships m JOIN events e USING (event_nid) WHERE m.user_id = %s AND e.json LIKE %s"
        return {
            "joins": count(txn, joins, nids(rooms), user),
            "shown": count(txn, shown, user, '%"displayname":"Another"%'),
        }

    expected = {"joins": 2 * RENAMED_IN, "shown": RENAMED_IN}
    params = UpdateJoinStatesParams(user_id=user)
    return Subject(UPDATE_JOIN_STATES, params, expected, read, {"shown": RENAMED_IN, "refused": 0})


def upgraded_room(stage: Stage) -> Subject:
    """Each ban is in the new room, by one event."""
    owner = stage.user("owner")
    old, new = stage.room(owner), stage.room(owner)
    bans = [
        stage.world.draft("m.room.member", owner, {"membership": "ban"}, state_key=f"@bad{number}:{SERVER}")
        for number in range(BANS)
    ]
    stage.send(old, bans)

    def read(txn: Transaction) -> Outcome:
        events = "events WHERE room_nid = %s AND membership = 'ban'"
        return {
            "events": count(txn, events, new.nid),
            "banned": count(txn, "memberships WHERE room_nid = %s AND membership = 'ban'", new.nid),
        }

    params = CarryBansParams(old_room_id=old.room_id, new_room_id=new.room_id, sender=owner, after="")
    result = {"carried": BANS, "refused": 0}
    return Subject(CARRY_BANS, params, {"events": BANS, "banned": BANS}, read, result)


def counted_room(stage: Stage) -> Subject:
    """What is forgotten and counted anew is what there is."""
    owner = stage.user("counted")
    room = stage.room(owner)
    stage.speak(room, owner, COUNTED)
    before = _events(stage, room)

    def read(txn: Transaction) -> Outcome:
        rows = "SELECT events, messages FROM room_stats WHERE room_nid = %s"
        of_user = "SELECT events, messages FROM user_stats WHERE user_id = %s"
        return {"room": txn.row(rows, (room.nid,)), "user": txn.row(of_user, (owner,))}

    params = RebuildParams(job_name="populate_stats_process_rooms")
    return Subject(REBUILD, params, {"room": (before, COUNTED), "user": (before, COUNTED)}, read)


def _events(stage: Stage, room: Room) -> int:
    return stage.do(lambda txn: count(txn, "events WHERE room_nid = %s", room.nid))


def _nothing(_txn: Transaction) -> Outcome:
    return {}


def _flooded(stage: Stage, spammers: int, times: int) -> tuple[list[str], str, list[Room]]:
    """Spammers, somebody who is none, and the rooms in which they spoke."""
    other = stage.user("honest")
    users = [stage.user("spam") for _ in range(spammers)]
    rooms = [stage.room(other, *users) for _ in range(ROOMS)]
    for room in rooms:
        for user in (*users, other):
            stage.speak(room, user, MESSAGES * times if user != other else MESSAGES)
    return users, other, rooms


def _redacted(asked: Subject, users: Sequence[str], other: str, rooms: Sequence[Room], each: int) -> Subject:
    """Each message of theirs has one redaction, and nobody else's has any."""
    messages = len(users) * len(rooms) * each

    def read(txn: Transaction) -> Outcome:
        here = nids(rooms)
        targets = "redactions r JOIN events e ON e.event_nid = r.target_nid WHERE e.room_nid = ANY(%s)"
        events = "events WHERE room_nid = ANY(%s) AND type = 'm.room.redaction'"
        return {
            "events": count(txn, events, here),
            "applied": count(txn, f"{targets} AND applied AND e.sender = ANY(%s)", here, list(users)),
            "targets": txn.value(f"SELECT count(DISTINCT target_nid) FROM {targets}", (here,)),
            "of others": count(txn, f"{targets} AND e.sender = %s", here, other),
        }

    expected = {"events": messages, "applied": messages, "targets": messages, "of others": 0}
    return Subject(asked.spec, asked.params, expected, read)


def _crowded(stage: Stage) -> Room:
    owner = stage.user("owner")
    room = stage.room(
        owner, *(f"{owner[: -len(SERVER) - 1]}s{number}:{SERVER}" for number in range(MEMBERS - 1))
    )
    stage.speak(room, owner, MESSAGES * SPAMMERS)
    return room


def _shut(stage: Stage, asked: Subject, rooms: Sequence[Room]) -> Subject:
    """Nothing is left of the rooms, and each member was told once."""
    ids = [room.room_id for room in rooms]
    told = f"stream WHERE room_nid = ANY(%s) AND kind = {Kind.ROOM_GONE:d} AND user_id IS NOT NULL"
    kicked = "SELECT id FROM scheduled_tasks WHERE resource_id = ANY(%s)"

    def read(txn: Transaction) -> Outcome:
        return {
            "left": _left(txn, nids(rooms)),
            "told": count(txn, told, nids(rooms)),
            "kicked": count(txn, f"task_items WHERE outcome = 'kicked' AND task_id IN ({kicked})", ids),
            "blocked": count(txn, "blocked_rooms WHERE room_id = ANY(%s)", ids),
        }

    members = MEMBERS * len(rooms)
    expected = {"left": {}, "told": members, "kicked": members, "blocked": len(rooms)}
    return Subject(asked.spec, asked.params, expected, read)


def _left(txn: Transaction, room_nids: list[int]) -> dict[str, int]:
    """Rows of the rooms, by table. (What names a room by anything else is looked for in `tests/chaos/purge.py`.)"""
    tables = {column.table for column in columns(txn) if column.name == "room_nid"} - MEMORY
    lasting = {"stream": f"kind <> {Kind.ROOM_GONE:d}"}
    left = {
        table: count(txn, f"{table} WHERE room_nid = ANY(%s) AND {lasting.get(table, 'TRUE')}", room_nids)
        for table in sorted(tables)
    }
    return {table: rows for table, rows in left.items() if rows}
