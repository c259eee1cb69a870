"""Whom an event notifies among those who never changed their push rules: worked out once, for all of them."""

from collections.abc import Callable
from functools import lru_cache

import attrs

from synapse_lite.matrix.event import Event
from synapse_lite.matrix.push_rules.conditions import Context
from synapse_lite.matrix.push_rules.evaluation import Evaluator, compile_rules
from synapse_lite.matrix.push_rules.ruleset import rules_of

MAX_MENTIONED = 1000
_ANY_COUNT = 3  # the predefined rules ask for two members only to choose a sound


@attrs.frozen
class Notice:
    """`notifies`: everybody in the room; `highlights`: so that it is shown to them; `mentioned`: both, for those."""

    notifies: bool
    highlights: bool
    mentioned: tuple[str, ...] = ()

    def concerns(self, user_id: str) -> bool:
        return self.notifies or user_id in self.mentioned

    def highlights_for(self, user_id: str) -> bool:
        return self.highlights or user_id in self.mentioned


def notice_of(event: Event, may_notify: Callable[[str], bool]) -> Notice | None:
    """None for an event that notifies nobody. `may_notify` as of a `Context`, asked only where it matters."""
    context = Context(_ANY_COUNT, may_notify)
    for_all = default_evaluator("")(event, context)
    mentioned = _mentioned(event)
    if mentioned and not default_evaluator(mentioned[0])(event, context).highlight:
        mentioned = ()  # as of a notice
    if not for_all.notify and not mentioned:
        return None
    return Notice(for_all.notify, for_all.highlight, mentioned)


@lru_cache(maxsize=1000)
def default_evaluator(user_id: str, *, follows_threads: bool = False) -> Evaluator:
    """The predefined rules."""
    return compile_rules(user_id, rules_of(user_id, None, follows_threads=follows_threads))


def _mentioned(event: Event) -> tuple[str, ...]:
    mentions = event.content.get("m.mentions")
    users = mentions.get("user_ids") if isinstance(mentions, dict) else None
    if not isinstance(users, list):
        return ()
    named = dict.fromkeys(user for user in users if isinstance(user, str) and "\0" not in user)
    return tuple(user for user in named if user != event.sender)[:MAX_MENTIONED]
