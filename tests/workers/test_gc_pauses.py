"""How long the garbage collector stops a process is known."""

import gc

from prometheus_client import CollectorRegistry

from synapse_lite.workers.gc_pauses import GcPauses


def test_pauses_are_measured() -> None:
    """The longest one and all together, as metrics; after the stop none is counted."""
    metrics = CollectorRegistry()
    pauses = GcPauses(metrics)
    pauses.start()
    try:
        garbage = [[] for _ in range(10_000)]
        gc.collect()
        first = pauses.together
        gc.collect()
    finally:
        pauses.stop()
    del garbage
    assert 0 < first < pauses.together
    assert metrics.get_sample_value("synapse_lite_gc_longest_pause_seconds") == pauses.longest
    assert metrics.get_sample_value("synapse_lite_gc_pause_seconds") == pauses.together
    gc.collect()
    assert metrics.get_sample_value("synapse_lite_gc_pause_seconds") == pauses.together
