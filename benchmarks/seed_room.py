"""A room as large as one likes, made by the server's own storage functions without its HTTP.

`python -m benchmarks.seed_room -c homeserver.yaml --events 1000000 --members 20000` writes it into the
database of a server and prints its id. Everything about it is as if clients had made it: signed events,
state, receipts, account data.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from synapse_lite.clock import Clock, ReactorClock
from synapse_lite.config.load import load_config
from synapse_lite.errors import MatrixError
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.storage import account_data, ephemeral, rooms
from synapse_lite.storage.append import EventAppender
from synapse_lite.storage.branches import Room, Write
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.ephemeral import Receipt
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.session import Session
from synapse_lite.storage.state import StateStore
from synapse_lite.workers.keys import load_signing_key

BATCH = 500
CACHE_BYTES = 64 * 2**20
VERSION = "12"
PARAGRAPH = "It was a bright cold day in April, and the clocks were striking thirteen. " * 2
