"""Application services: bridges and bots to which a part of the homeserver's names belongs (application service API, "Registration")."""

import re
from collections.abc import Iterable

from attrs import field, frozen


@frozen
class Namespace:
    """Names that begin with what `pattern` matches. `is_exclusive`: nobody else may make such a name."""

    pattern: re.Pattern[str]
    is_exclusive: bool

    def covers(self, name: str) -> bool:
        return self.pattern.match(name) is not None


@frozen
class AppService:
    """One registration.

    `url` None: it is told nothing, and asked for nothing. `sender` is the user id of its own user. `token_hash` is the
    SHA-256 of the token by which it speaks to us, `hs_token` the one by which we speak to it. `protocols` are the networks
    of which it knows rooms and users. `ephemeral_keys`: under which it is told of receipts, typing and presence; none: not at all. `hears_devices`: it gets what is
    sent to devices of its users; `hears_keys`: it hears what it needs to encrypt as them.
    """

    id: str
    url: str | None
    sender: str
    token_hash: bytes = field(repr=False)
    hs_token: str = field(repr=False)
    users: tuple[Namespace, ...] = ()
    aliases: tuple[Namespace, ...] = ()
    rooms: tuple[Namespace, ...] = ()
    protocols: tuple[str, ...] = ()
    is_rate_limited: bool = True
    ephemeral_keys: tuple[str, ...] = ()
    hears_devices: bool = False
    hears_keys: bool = False

    def has_user(self, user_id: str) -> bool:
        """Its own user, and those of its namespaces, whether or not others may register them, too."""
        return user_id == self.sender or _covers(self.users, user_id)

    def keeps_user(self, user_id: str) -> bool:
        """Whether nobody else may register the user."""
        return user_id == self.sender or _keeps(self.users, user_id)

    def has_alias(self, alias: str) -> bool:
        return _covers(self.aliases, alias)

    def keeps_alias(self, alias: str) -> bool:
        """Whether nobody else may make the alias."""
        return _keeps(self.aliases, alias)

    def has_room(self, room_id: str) -> bool:
        return _covers(self.rooms, room_id)


def _covers(namespaces: Iterable[Namespace], name: str) -> bool:
    return any(one.covers(name) for one in namespaces)


def _keeps(namespaces: Iterable[Namespace], name: str) -> bool:
    return any(one.is_exclusive and one.covers(name) for one in namespaces)
