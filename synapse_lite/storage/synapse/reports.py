"""What users told the operators of, as Synapse's database knows it."""

from collections.abc import Iterator

from synapse_lite.storage.synapse.database import SynapseDatabase, SynapseRow


def reports(database: SynapseDatabase, table: str) -> Iterator[SynapseRow]:
    """`event_reports`, `room_reports` or `user_reports`; older versions lack some."""
    return database.pages(table, ("id",)) if database.has(table) else iter(())
