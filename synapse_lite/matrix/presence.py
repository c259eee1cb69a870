"""Who is there (client-server API, "Presence")."""

from collections.abc import Iterable

from attrs import frozen

from synapse_lite.canonical_json import JsonObject

BUSY = "org.matrix.msc3026.busy"
"""There, and not to be disturbed (MSC3026): until the user says otherwise in so many words, or is gone."""
ONLINE, UNAVAILABLE, OFFLINE = "online", "unavailable", "offline"
STATES = (BUSY, ONLINE, UNAVAILABLE, OFFLINE)
EVENT_TYPE = "m.presence"
CHECK_AGAIN_MS = 30 * 60_000
"""After so long without a word it is asked whether who seems to be there still is."""


@frozen
class PresenceTimes:
    """Milliseconds without activity until a user is away (`idle_ms`), and until they are not active any more."""

    idle_ms: int
    active_ms: int


@frozen
class Claim:
    """What a device says of its user, and when the user last did something there (ms since 1970)."""

    state: str
    active_ts: int


@frozen
class Presence:
    """What others see of a user. `last_active_ts` 0: it is not known."""

    state: str = OFFLINE
    status_msg: str | None = None
    last_active_ts: int = 0
    currently_active: bool = False

    def content(self, now_ms: int) -> JsonObject:
        """Of an `m.presence` event, and the answer to who asks."""
        content: JsonObject = {"presence": self.state}
        if self.last_active_ts:
            content["last_active_ago"] = max(0, now_ms - self.last_active_ts)
        if self.status_msg is not None:
            content["status_msg"] = self.status_msg
        if self.state != OFFLINE:
            content["currently_active"] = self.currently_active
        return content

    def event(self, user_id: str, now_ms: int) -> JsonObject:
        return {"type": EVENT_TYPE, "sender": user_id, "content": self.content(now_ms)}


def combine(
    before: Presence, claims: Iterable[Claim], times: PresenceTimes, now_ms: int
) -> tuple[Presence, int | None]:
    """What a user is by what their devices say, and when to look again: None when time changes nothing.

    The device that is most there decides. One that nobody has touched for long says no more than that it is there, unless
    it is busy.
    """
    found, last_active = {OFFLINE}, before.last_active_ts
    checks = []
    for claim in claims:
        last_active = max(last_active, claim.active_ts)
        idle_at = claim.active_ts + times.idle_ms
        if claim.state == BUSY:
            found.add(BUSY)
        elif claim.state == ONLINE and now_ms < idle_at:
            checks.append(idle_at)
            found.add(ONLINE)
        else:
            found.add(OFFLINE if claim.state == OFFLINE else UNAVAILABLE)
    state = min(found, key=STATES.index)
    active_until = last_active + times.active_ms
    is_active = state in {BUSY, ONLINE} and now_ms < active_until
    if is_active:
        checks.append(active_until)
    if state != OFFLINE:
        checks.append(now_ms + CHECK_AGAIN_MS)
    return Presence(state, before.status_msg, last_active, is_active), min(checks, default=None)
