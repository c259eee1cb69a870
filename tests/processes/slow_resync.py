"""A process that fills in the members of rooms of others two at a time, four a step, and never while the user waits who joins."""

import os
import sys
from pathlib import Path

from synapse_lite.config.load import load
from synapse_lite.federation import outliers, resync
from synapse_lite.workers.process import run

if __name__ == "__main__":
    resync.FEW, resync.SLICE, resync.SLICES = 0, 2, 2
    outliers.SLICE = 2
    sys.exit(run(load([Path(word) for word in sys.argv[1:] if word != "-c"], os.environ)))
