"""Messages of the operator to single users (client-server API, "Server Notices")."""

from secrets import randbelow

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.config.rooms import RoomOptions
from synapse_lite.config.server_notices import ServerNotices as ServerNoticesOptions
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.event_writer import Sender
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_plan import RoomRequest, plan_room
from synapse_lite.handlers.user_admin import check_local
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.types import AVATAR, MESSAGE, PINNED_EVENTS
from synapse_lite.rooms.append import EventAppender, append_all
from synapse_lite.rooms.create import NewRoom, create_room
from synapse_lite.rooms.members import invite_draft, join_draft
from synapse_lite.rooms.values import Write
from synapse_lite.storage import accounts, rooms, server_notices, user_admin
from synapse_lite.storage.account_data import change_account_data
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction, UniqueViolation
from synapse_lite.storage.event_transactions import ClientRequest

ENDPOINT = "server_notice"
ATTEMPTS = 5
NEARBY_MS = 100
READ_ONLY = {"users_default": -10}


class ServerNotices:
    """Each user has one room, in which only the server writes. `server_name` is ours."""

    def __init__(
        self,
        database: Database,
        appender: EventAppender,
        sender: Sender,
        current: CurrentState,
        clock: Clock,
        *,
        options: ServerNoticesOptions,
        room_options: RoomOptions,
        server_name: str,
    ) -> None:
        self._database = database
        self._appender = appender
        self._sender = sender
        self._current = current
        self._clock = clock
        self._options = options
        self._room_options = room_options
        self._server_name = server_name

    async def send(
        self,
        requester: Requester,
        user_id: str,
        event_type: str,
        content: JsonObject,
        *,
        state_key: str | None = None,
        txn_id: str | None = None,
    ) -> str:
        """The event id; the same one for the same `txn_id`.

        400 `M_UNKNOWN` when there are no notices here, and for a user of another server; 404 `M_NOT_FOUND`.
        """
        if self._options.system_mxid_localpart is None:
            raise MatrixError(400, Errcode.UNKNOWN, "Server notices are not enabled on this server")
        check_local(user_id, self._server_name, "Server notices can only be sent to local users")
        notifier = f"@{self._options.system_mxid_localpart}:{self._server_name}"
        room_nid = await self._room(notifier, user_id)
        draft = Draft(event_type, notifier, content, self._clock.now_ms(), state_key)
        request = None if txn_id is None else ClientRequest(requester.session, ENDPOINT, txn_id)
        return (await self._sender.send(Write(room_nid, draft, request))).event_id

    async def pin(self, user_id: str, content: JsonObject | None) -> None:
        """One message that is pinned in the user's room; None: none is. What is so already stays as it is."""
        notifier = f"@{self._options.system_mxid_localpart}:{self._server_name}"
        if await self._database.read(self._is_pinned, notifier, user_id) == (content is not None):
            return
        room_nid = await self._room(notifier, user_id)
        await self._database.transact(self._pin, notifier, user_id, room_nid, content)

    async def _room(self, notifier: str, user_id: str) -> int:
        """Two rooms that the server makes in one millisecond would have the same id: see `RoomCreation`."""
        created_ts = self._clock.now_ms()
        for _ in range(ATTEMPTS):
            try:
                return await self._database.transact(self._prepare, notifier, user_id, created_ts)
            except UniqueViolation:
                created_ts += 1 + randbelow(NEARBY_MS)
        raise MatrixError(503, Errcode.UNKNOWN, "Too many notices at once, try again")

    # In a database thread

    def _is_pinned(self, txn: Transaction, notifier: str, user_id: str) -> bool:
        room_nid = server_notices.notices_room(txn, notifier, user_id)
        event = None if room_nid is None else self._current.one(txn, room_nid, (PINNED_EVENTS, ""))
        return event is not None and bool(event.content.get("pinned"))

    def _pin(
        self, txn: Transaction, notifier: str, user_id: str, room_nid: int, content: JsonObject | None
    ) -> None:
        """The message and its pin are one commit."""
        user_admin.lock_user(txn, user_id)
        if self._is_pinned(txn, notifier, user_id) == (content is not None):
            return  # another process was faster
        now_ms = self._clock.now_ms()
        messages = [] if content is None else [Write(room_nid, Draft(MESSAGE, notifier, content, now_ms))]
        pinned = [sent.event_id for sent in append_all(txn, self._appender, messages)]
        pin = Draft(PINNED_EVENTS, notifier, {"pinned": pinned}, now_ms, "")
        append_all(txn, self._appender, [Write(room_nid, pin)])

    def _prepare(self, txn: Transaction, notifier: str, user_id: str, created_ts: int) -> int:
        user = user_admin.lock_user(txn, user_id)
        if user is None or user.deactivated:
            raise not_found("User not found")
        self._make_notifier(txn, notifier)
        room_nid = server_notices.notices_room(txn, notifier, user_id)
        if room_nid is None:
            room_nid = self._make_room(txn, notifier, user_id, created_ts)
        self._bring_in(txn, room_nid, notifier, user_id)
        return room_nid

    def _make_notifier(self, txn: Transaction, notifier: str) -> None:
        profile = {
            "displayname": self._options.system_mxid_display_name,
            "avatar_url": self._options.system_mxid_avatar_url,
        }
        if accounts.create_account(txn, NewAccount(notifier, self._clock.now_ms())):
            user_admin.change_user(txn, notifier, profile)

    def _make_room(self, txn: Transaction, notifier: str, user_id: str, created_ts: int) -> int:
        options = self._options
        avatar = options.room_avatar_url
        request = RoomRequest(
            preset="private_chat",
            name=options.room_name,
            topic=options.room_topic,
            initial_state=[] if avatar is None else [((AVATAR, ""), {"url": avatar})],
            power_levels=READ_ONLY,
        )
        plan = plan_room(request, notifier, self._room_options)
        state = [(kind, key, content) for (kind, key), content in plan.state.items()]
        new = NewRoom(notifier, plan.version, plan.create, created_ts, state)
        room = create_room(txn, self._appender, self._clock, new)
        server_notices.keep_notices_room(txn, user_id, room.nid)
        change_account_data(txn, user_id, room.nid, "m.tag", _tagged)
        return room.nid

    def _bring_in(self, txn: Transaction, room_nid: int, notifier: str, user_id: str) -> None:
        """Who has left, or has not answered yet, is invited, or joined."""
        member = rooms.membership_in(txn, room_nid, user_id)
        membership = None if member is None else member.membership
        if membership not in {"join", "invite"}:
            invite = invite_draft(txn, notifier, user_id, self._clock.now_ms(), is_direct=False)
            append_all(txn, self._appender, [Write(room_nid, invite)])
        if self._options.auto_join and membership != "join":
            append_all(txn, self._appender, [Write(room_nid, join_draft(txn, user_id, self._clock.now_ms()))])


def _tagged(content: JsonObject) -> JsonObject:
    tags = content.get("tags")
    return {**content, "tags": {**(tags if isinstance(tags, dict) else {}), "m.server_notice": {}}}
