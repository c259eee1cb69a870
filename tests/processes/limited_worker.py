"""A worker that cannot redact: of an older release, say, or with a plugin missing."""

import os
import sys
from pathlib import Path

from synapse_lite.config.load import load
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS
from synapse_lite.tasks.registry import CATALOGUE
from synapse_lite.workers.process import run

if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:] if word != "-c"]
    limited = tuple(binding for binding in CATALOGUE if binding.spec is not REDACT_ALL_EVENTS)
    sys.exit(run(load(paths, os.environ), limited))
