"""Placeholder until the assembly lands: migrates, answers /health and a fake of registration, stops on SIGTERM."""
# mypy: ignore-errors
# ruff: noqa
import json
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from synapse_lite.config.model import Config
from synapse_lite.storage.migrate import migrate


class _All(Resource):
    isLeaf = True

    def __init__(self, config):
        self.config = config
        self.file = config.signing_key_path.parent / "users.placeholder"

    def render_GET(self, request):
        if request.path == b"/health":
            return b"OK"
        return json.dumps({"nonce": "1", "user_id": f"@admin:{self.config.server_name}"}).encode()

    def render_POST(self, request):
        body = json.loads(request.content.read())
        name = body.get("username") or body["identifier"]["user"]
        users = self.file.read_text().split() if self.file.exists() else []
        if name in users and "username" in body:
            request.setResponseCode(400)
            return b'{"errcode": "M_USER_IN_USE", "error": "taken"}'
        self.file.write_text(" ".join([*users, name]))
        return json.dumps({"user_id": f"@{name}:{self.config.server_name}", "access_token": "syt_x", "device_id": "D"}).encode()


def run(config: Config) -> int:
    migrate(config.database.dsn_kwargs())
    for listener in config.effective_listeners:
        for address in listener.bind_addresses:
            reactor.listenTCP(listener.port, Site(_All(config)), interface=address)
    print(config.worker_name, "ready")
    reactor.run()
    return 0
