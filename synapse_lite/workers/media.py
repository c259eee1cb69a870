"""Where the bytes of media are, and what works on them, from the configuration."""

import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.config.media import MediaOptions
from synapse_lite.errors import ConfigError
from synapse_lite.media.breaker import BreakerStore
from synapse_lite.media.directory import DirectoryStore
from synapse_lite.media.store import BlobStore
from synapse_lite.media.threads import THREADS, MediaThreads
from synapse_lite.media.workers import MediaWorkers
from synapse_lite.tasks.actions.media_retention import MediaLifetimes
from synapse_lite.tasks.registry import MediaStores
from synapse_lite.workers.feature import Life


@frozen
class MediaParts:
    """`incoming`: the directory of what is not stored yet."""

    store: BlobStore
    incoming: Path
    threads: MediaThreads
    workers: MediaWorkers

    @property
    def lives(self) -> tuple[Life, ...]:
        return (self.threads, self.workers)

    def for_tasks(self, options: MediaOptions) -> MediaStores:
        kept = options.media_retention
        lifetimes = MediaLifetimes(kept.local_media_lifetime, kept.remote_media_lifetime)
        return MediaStores(self.store, self.incoming, lifetimes, options.max_remote_media_cache)

    @classmethod
    def build(cls, reactor: Any, clock: Clock, options: MediaOptions) -> Self:
        store = build_store(options)
        incoming = options.media_store_path / "incoming"
        threads = MediaThreads(reactor, store, incoming)
        return cls(store, incoming, threads, MediaWorkers(reactor, clock, os.cpu_count() or 1))


def build_store(options: MediaOptions) -> BlobStore:
    """`ConfigError` when object storage is configured and the extra `s3` is not installed."""
    if not options.media_storage_providers:
        return DirectoryStore(options.media_store_path / "blobs")
    bucket = options.media_storage_providers[0].config
    try:
        s3 = import_module("synapse_lite.media.s3")  # boto3 is an extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"media_storage_providers: pip install 'synapse-lite[s3]' ({error.name} is missing)"
        ) from None
    objects = s3.S3Store(
        bucket.bucket, prefix=bucket.prefix, connections=2 * THREADS, **bucket.client_arguments
    )
    return BreakerStore(objects, time.monotonic)
