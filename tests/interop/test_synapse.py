"""The same requests to Synapse and to this server have the same answers."""

from tests.interop.alike import Caller, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server


def conversation(caller: Caller) -> None:
    """Log in, make a room, send, and sync."""
    caller.register("ada")
    login = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": caller.names["ada"]},
        "password": "secret",
        "device_id": "PHONE",
    }
    answer = caller.call("login", "POST", "login", login)
    caller.tokens["phone"] = answer["access_token"]
    caller.room("den", "phone", name="A room", topic="Talk")
    caller.send("hello", "den", "phone", {"msgtype": "m.text", "body": "hello"})
    caller.call("sync", "GET", "sync", by="phone")
    caller.call("whoami", "GET", "account/whoami", by="phone")
    caller.call("messages", "GET", "rooms/{den}/messages?dir=b&limit=3", by="phone")
    caller.call("no room", "GET", "rooms/{ada}/messages?dir=b", by="phone")


ALLOWED = {
    "sync: .account_data.events[0].content.global": "the predefined rules of the present specification only",
    "sync: .rooms.join.<den>.summary: is not there": "it changes nothing when it is empty",
}


def test_a_conversation(synapse: Synapse, server: Server) -> None:
    """Clients find what they find on Synapse."""
    wrong = differences(conversation, synapse, server, ALLOWED)
    assert not wrong, "\n".join(wrong)
