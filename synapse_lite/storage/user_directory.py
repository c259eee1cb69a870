"""The user directory: names, and who may find whom."""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.matrix.directory import DirectoryQuestion
from synapse_lite.matrix.words import tsquery
from synapse_lite.storage.database import Transaction


@frozen
class DirectoryRow:
    """`body` is normalised text, `tokens` its tokens."""

    user_id: str
    display_name: str | None
    avatar_url: str | None
    is_local: bool
    body: str
    tokens: Sequence[str]


@frozen
class DirectorySearch:
    """`prefers_local`: users of this server come first.

    `sees_all`: all users of this server are found, whether `searcher` shares a room with them or not.
    """

    searcher: str
    question: DirectoryQuestion
    ignored: Collection[str]
    sees_all: bool
    prefers_local: bool
    excludes_remote: bool
    shows_locked: bool


@frozen
class FoundUser:
    """`member_nids`: of a user of another server, some member events that the searcher may see; None of one of ours."""

    user_id: str
    display_name: str | None
    avatar_url: str | None
    member_nids: Sequence[int] | None


def put_users(txn: Transaction, rows: Collection[DirectoryRow]) -> None:
    if rows:
        txn.insert(
            "INSERT INTO user_directory (user_id, display_name, avatar_url, is_local, body, tokens) VALUES %s"
            " ON CONFLICT (user_id) DO UPDATE SET display_name = EXCLUDED.display_name,"
            " avatar_url = EXCLUDED.avatar_url, body = EXCLUDED.body, tokens = EXCLUDED.tokens",
            [
                (row.user_id, row.display_name, row.avatar_url, row.is_local, row.body, [*row.tokens])
                for row in rows
            ],
            "(%s, %s, %s, %s, %s, array_to_tsvector(%s::text[]))",
        )


def remove_users(txn: Transaction, user_ids: Collection[str]) -> None:
    if user_ids:
        txn.execute("DELETE FROM user_directory WHERE user_id = ANY(%s)", (list(user_ids),))


def local_profiles(txn: Transaction, user_ids: Collection[str]) -> dict[str, tuple[str | None, str | None]]:
    """Name and avatar of those who can be looked for: no guests, no support accounts, none of application services
    (as Synapse has it), none that are closed.
    """
    if not user_ids:
        return {}
    rows = txn.rows(
        "SELECT user_id, displayname, avatar_url FROM users WHERE user_id = ANY(%s) AND NOT deactivated"
        " AND NOT is_guest AND user_type IS DISTINCT FROM 'support' AND appservice_id IS NULL FOR KEY SHARE",
        (list(user_ids),),
    )
    return {user_id: (name, avatar) for user_id, name, avatar in rows}


MAX_MEMBER_EVENTS = 20
"""So many of the names of a user of another server are looked at: they may have one in each room."""

# Member events of the user in rooms that the searcher is in, or that anybody may join or read.
_SEEN_IN = """
SELECT m.event_nid FROM memberships m WHERE m.user_id = d.user_id AND m.membership = 'join' AND (
    EXISTS (SELECT FROM memberships own WHERE own.room_nid = m.room_nid AND own.user_id = %(searcher)s
        AND own.membership = 'join' OFFSET 0)
    OR EXISTS (SELECT FROM room_summary r WHERE r.room_nid = m.room_nid
        AND (r.join_rule = 'public' OR r.history_visibility = 'world_readable') OFFSET 0))
"""

# One number: to sort a thousand rows by four columns takes longer than to find them.
_RANK = r"""
CASE WHEN strpos(E'\n' || body || E'\n', E'\n' || %(exact)s || E'\n') > 0 THEN 0 ELSE 8 END
    + CASE WHEN is_local AND %(prefers_local)s THEN 0 ELSE 4 END
    + CASE WHEN display_name IS NULL THEN 2 ELSE 0 END + CASE WHEN avatar_url IS NULL THEN 1 ELSE 0 END
"""

_SEARCH = f"""
SELECT user_id, display_name, avatar_url, CASE WHEN is_local THEN NULL ELSE ARRAY({_SEEN_IN} LIMIT {MAX_MEMBER_EVENTS}) END FROM (
    SELECT * FROM user_directory WHERE tokens @@ %(query)s::tsquery
        AND NOT EXISTS (SELECT FROM unnest(%(runs)s::text[]) AS run WHERE strpos(body, run) = 0)
        AND user_id <> ALL(%(ignored)s) AND (is_local OR NOT %(excludes_remote)s)
    ORDER BY {_RANK}, user_id OFFSET 0) AS d
WHERE (user_id = %(searcher)s OR (is_local AND %(sees_all)s) OR EXISTS ({_SEEN_IN}))
    AND NOT EXISTS (SELECT FROM users u WHERE u.user_id = d.user_id
        AND (u.deactivated OR (u.locked AND NOT %(shows_locked)s)) OFFSET 0)
LIMIT %(limit)s
"""


def search_users(txn: Transaction, search: DirectorySearch, limit: int) -> list[FoundUser]:
    """The best first: whose name or localpart is what is asked for, then who has a name and an avatar."""
    rows = txn.rows(
        _SEARCH,
        {
            "searcher": search.searcher,
            "query": " | ".join(f"({tsquery(asked)})" for asked in search.question.readings),
            "runs": [term.text for term in search.question.readings[0] if term.is_run],
            "exact": search.question.exact,
            "ignored": [*search.ignored],
            "sees_all": search.sees_all,
            "prefers_local": search.prefers_local,
            "excludes_remote": search.excludes_remote,
            "shows_locked": search.shows_locked,
            "limit": limit,
        },
    )
    return [FoundUser(*row) for row in rows]
