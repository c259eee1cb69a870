"""What users keep on the server besides messages: account data, push rules, pushers."""

from synapse_lite import canonical_json
from synapse_lite.cli.import_synapse.push_rules import stored_rules
from synapse_lite.cli.import_synapse.target import BATCH, Import
from synapse_lite.errors import bad_json, invalid_param
from synapse_lite.handlers.push.pushers import EMAIL, KINDS
from synapse_lite.handlers.push_rules import PUSH_RULES
from synapse_lite.matrix.push_gateway import is_gateway
from synapse_lite.storage.imported import user_state as ours
from synapse_lite.storage.imported.user_state import ImportedPusher
from synapse_lite.storage.pushers import HTTP
from synapse_lite.storage.synapse import user_state as theirs
from synapse_lite.storage.synapse.database import SynapseRow
from synapse_lite.storage.synapse.user_state import SynapsePushRules


def import_user_state(work: Import) -> None:
    """What is of rooms comes with them."""
    _account_data(work)
    _push_rules(work)
    _pushers(work)


def start_pushers(work: Import) -> None:
    """After the rooms: what came with them is old, and pushed to nobody."""
    has_more = True
    while has_more:
        with work.transaction() as txn:
            has_more = ours.start_pushers(txn, BATCH)


def _account_data(work: Import) -> None:
    def read(row: SynapseRow) -> tuple[str, str, str]:
        content = canonical_json.decode_object(row["content"])
        kind = row["account_data_type"]
        if kind == PUSH_RULES:
            raise bad_json("Push rules are kept elsewhere")
        return work.own(row["user_id"]), kind, canonical_json.encode(content).decode()

    rows = theirs.account_data(work.synapse)
    work.take("account data", rows, ("user_id", "account_data_type"), read, ours.add_account_data)


def _push_rules(work: Import) -> None:
    """Those of a user are one content here."""

    def read(found: SynapsePushRules) -> tuple[str, str, str]:
        user_id, stored = work.own(found.user_id), stored_rules(work, found)
        return user_id, PUSH_RULES, canonical_json.encode(stored).decode()

    def name(found: SynapsePushRules) -> str:
        return found.user_id

    users = theirs.push_rules(work.synapse)
    work.take_each("users with push rules", users, name, read, ours.add_account_data)


def _pushers(work: Import) -> None:
    def read(row: SynapseRow) -> ImportedPusher:
        kind, data = row["kind"], canonical_json.decode_object(row["data"] or "{}")
        if kind not in KINDS or (kind == HTTP and not is_gateway(data.get("url"))):
            raise invalid_param("No pusher")
        return ImportedPusher(
            app_id=row["app_id"],
            pushkey=row["pushkey"],
            user_id=work.own(row["user_name"]),
            device_id=None if kind == EMAIL else row.get("device_id"),
            kind=kind,
            app_display_name=row["app_display_name"],
            device_display_name=row["device_display_name"],
            profile_tag=row["profile_tag"] or None,
            lang=row["lang"] or "",
            data=canonical_json.encode(data).decode(),
            enabled=row.get("enabled") is None or bool(row["enabled"]),
            created_ts=row["ts"],
        )

    rows = theirs.pushers(work.synapse)
    work.take("pushers", rows, ("user_name", "app_id", "id"), read, ours.add_pushers)
