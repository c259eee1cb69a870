"""What users keep on the server, as Synapse's database knows it."""

from collections.abc import Iterator

from attrs import frozen

from synapse_lite.storage.synapse.database import SynapseDatabase, SynapseRow, in_batches


@frozen
class SynapsePushRules:
    """Of one user: their rules, the most important first, and which of all rules are on or off."""

    user_id: str
    rules: list[SynapseRow]
    enabled: list[SynapseRow]


def account_data(database: SynapseDatabase) -> Iterator[SynapseRow]:
    return database.pages("account_data", ("user_id", "account_data_type"))


def push_rules(database: SynapseDatabase) -> Iterator[SynapsePushRules]:
    """Of those users who have set any."""
    for page in in_batches(database.pages("users", ("name",), "name IS NOT NULL")):
        names = [row["name"] for row in page]
        rules = _by_user(database, "push_rules", names)
        enabled = _by_user(database, "push_rules_enable", names)
        for name in names:
            if name in rules or name in enabled:
                ordered = sorted(rules.get(name, ()), key=lambda row: -row["priority"])
                yield SynapsePushRules(name, ordered, enabled.get(name, []))


def pushers(database: SynapseDatabase) -> Iterator[SynapseRow]:
    return database.pages("pushers", ("id",))


def _by_user(database: SynapseDatabase, table: str, names: list[str]) -> dict[str, list[SynapseRow]]:
    found: dict[str, list[SynapseRow]] = {}
    for row in database.among(f"SELECT * FROM {table} WHERE user_name IN", names):
        found.setdefault(row["user_name"], []).append(row)
    return found
