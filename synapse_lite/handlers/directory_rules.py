"""Who may make which alias, and publish which room: the operator's rules."""

from collections.abc import Collection, Sequence
from typing import Protocol

from attrs import frozen

from synapse_lite.config.rooms import RoomOptions
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.matrix.globs import compile_glob


class Rule(Protocol):
    """Patterns, and whether what they fit is allowed or denied."""

    @property
    def user_id(self) -> str: ...
    @property
    def alias(self) -> str: ...
    @property
    def room_id(self) -> str: ...
    @property
    def action(self) -> str: ...


@frozen
class DirectoryRules:
    """The first rule that fits decides; none: it is denied. None instead of rules: the default decides."""

    alias_creation: Sequence[Rule] | None
    publication: Sequence[Rule] | None

    @classmethod
    def of(cls, options: RoomOptions) -> "DirectoryRules":
        return cls(options.alias_creation_rules, options.room_list_publication_rules)

    def check_alias(self, user_id: str, alias: str, room_id: str) -> None:
        """403 `M_UNKNOWN` unless the user may make the alias; without rules everybody may."""
        if self.alias_creation is not None and not _allows(self.alias_creation, user_id, [alias], room_id):
            raise MatrixError(403, Errcode.UNKNOWN, "Not allowed to create alias")

    def check_publication(self, user_id: str, aliases: Collection[str], room_id: str) -> None:
        """403 `M_UNKNOWN` unless `may_publish`."""
        if not self.may_publish(user_id, aliases, room_id):
            raise MatrixError(403, Errcode.UNKNOWN, "Not allowed to publish room")

    def may_publish(self, user_id: str, aliases: Collection[str], room_id: str) -> bool:
        """Whether the user may put the room, which has the aliases, into the directory; without rules nobody may."""
        return self.publication is not None and _allows(self.publication, user_id, aliases, room_id)


def _allows(rules: Sequence[Rule], user_id: str, aliases: Collection[str], room_id: str) -> bool:
    for rule in rules:
        if (
            _fits(rule.user_id, user_id)
            and _fits(rule.room_id, room_id)
            and (rule.alias == "*" or any(_fits(rule.alias, alias) for alias in aliases))
        ):
            return rule.action == "allow"
    return False


def _fits(pattern: str, text: str) -> bool:
    return compile_glob(pattern).matches(text.lower())
