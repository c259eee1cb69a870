"""Many messages in rooms that clients made, by the server's own storage functions without its HTTP.

`python -m benchmarks.seed_messages -c homeserver.yaml` reads a JSON object from its input: the `texts`, and who says all of
them in which of the `rooms`.
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from twisted.internet import reactor

from benchmarks.seed_room import Seeder
from synapse_lite.clock import ReactorClock
from synapse_lite.config.load import load
from synapse_lite.workers.keys import load_signing_key

BATCH = 500
Message = tuple[str, str, str]  # room, sender, text


def _messages(rooms: Mapping[str, str], texts: Sequence[str]) -> Iterator[Message]:
    for text in texts:
        for room_id, sender in rooms.items():
            yield room_id, sender, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-c", "--config", type=Path, action="append", required=True)
    config = load(parser.parse_args().config, os.environ)
    wanted = json.load(sys.stdin)
    key = load_signing_key(config.signing_key_path, config.server_name)
    seeder = Seeder(config.database.dsn_kwargs(), key, ReactorClock(reactor))
    messages = _messages(wanted["rooms"], wanted["texts"])
    while batch := list(itertools.islice(messages, BATCH)):
        seeder.say(batch)
    seeder.close()


if __name__ == "__main__":
    main()
