"""A process whose callers wait for ten minutes from the beginning of an outage of the database."""

import os
import sys
from pathlib import Path

from synapse_lite.storage import outage

outage.PATIENCE_SECONDS = 600.0  # before anybody takes it as a default

from synapse_lite.config.load import load  # noqa: E402
from synapse_lite.workers.process import run  # noqa: E402

if __name__ == "__main__":
    sys.exit(run(load([Path(word) for word in sys.argv[1:] if word != "-c"], os.environ)))
