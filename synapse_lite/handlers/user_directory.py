"""Looking for users (client-server API, "User Directory")."""

from collections.abc import Mapping

from synapse_lite.canonical_json import JsonObject
from synapse_lite.config.user_directory import Directory
from synapse_lite.handlers.ignored_users import IgnoredUsers
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.matrix.directory import matches, read_question, shown_names
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, View
from synapse_lite.storage.user_directory import DirectorySearch, FoundUser, search_users

MAX_LIMIT = 50


class UserDirectoryHandler:
    """One finds who is in a room of one's own, or in one that is open to all; or all users of the server.

    Of users of other servers, only what a room shows that the searcher may see.
    """

    def __init__(
        self,
        database: Database,
        events: EventStore,
        ignored: IgnoredUsers,
        limiter: RateLimiter,
        options: Directory,
    ) -> None:
        self._database = database
        self._events = events
        self._ignored = ignored
        self._limiter = limiter
        self._options = options

    async def search(self, requester: Requester, text: str, limit: int) -> JsonObject:
        """At most `limit` users by the beginnings of words in their names and localparts."""
        await check_user(self._limiter, requester)
        question = read_question(text)
        if not question.readings or not self._options.enabled:
            return {"limited": False, "results": []}
        search = DirectorySearch(
            requester.user_id,
            question,
            await self._ignored.of(requester.user_id),
            sees_all=self._options.search_all_users,
            prefers_local=self._options.prefer_local_users,
            excludes_remote=self._options.exclude_remote_users,
            shows_locked=self._options.show_locked_users,
        )
        most = min(limit, MAX_LIMIT)
        found, is_limited = await self._database.snapshot(self._search, search, most)
        return {"limited": is_limited, "results": found}

    # In a database thread

    def _search(self, txn: Transaction, search: DirectorySearch, limit: int) -> tuple[list[JsonObject], bool]:
        users = search_users(txn, search, limit + 1)
        nids = {nid for user in users[:limit] for nid in user.member_nids or ()}
        views = {view.stored.nid: view for view in self._events.views(txn, [*nids])} if nids else {}
        shown = (_as_seen(search, user, views) for user in users[:limit])
        return [user for user in shown if user is not None], len(users) > limit


def _as_seen(search: DirectorySearch, user: FoundUser, views: Mapping[int, View]) -> JsonObject | None:
    """None for who is found by a name that only other rooms know, or that is redacted."""
    names = [(user.display_name, user.avatar_url)]
    if user.member_nids is not None:
        members = [views[nid] for nid in user.member_nids if nid in views]
        known = [shown_names({} if one.redaction else one.stored.event.content) for one in members]
        names = [(name, avatar) for name, avatar in known if matches(search.question, user.user_id, name)]
    if not names:
        return None
    fields = dict(zip(("display_name", "avatar_url"), names[0], strict=True))
    return {"user_id": user.user_id, **{key: value for key, value in fields.items() if value is not None}}
