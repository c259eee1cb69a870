"""Sliding sync over HTTP."""

from synapse_lite.rest.client.sliding_sync.api import SlidingSyncApi

__all__ = ["SlidingSyncApi"]
