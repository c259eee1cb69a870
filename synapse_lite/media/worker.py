"""A child process for what strangers' bytes may do to a decoder: bounded in memory, time and files.

Reads one job a line from standard input, writes one answer a line to standard output, both JSON, and ends
with its parent. `python -m synapse_lite.media.worker MEMORY_BYTES CPU_SECONDS`: of all, and of each job
"""

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import asdict
from PIL import Image, PngImagePlugin

from synapse_lite.media.images import DiskError, ImageError, make_thumbnail, measure
from synapse_lite.media.pages import read_oembed, read_page, unpacked

MAX_OUTPUT_BYTES = 64 * 1024 * 1024
NICENESS = 10
MAX_PNG_TEXT = 16 * 1024 * 1024
"""Of one part of a PNG beside its picture: a colour profile or a drawing program's own format has more than Pillow's 1 MiB."""


def main() -> None:
    memory, seconds = map(int, sys.argv[1:])
    _limit(memory)
    Image.MAX_IMAGE_PIXELS = None  # we count ourselves, after a JPEG was made smaller
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_PNG_TEXT
    for line in sys.stdin:
        _limit_cpu(seconds)
        job = json.loads(line)
        sys.stdout.write(json.dumps(_answer(job)) + "\n")
        sys.stdout.flush()


def _limit(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICENESS)  # those who send messages come first


def _limit_cpu(seconds: int) -> None:
    """So many more; by this clock, as another would count how busy the machine is."""
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + seconds, most))


def _answer(job: dict[str, Any]) -> Mapping[str, Any]:
    try:
        return JOBS[job.pop("job")](**job)
    except Exception as error:  # noqa: BLE001 (the bytes are a stranger's: whatever they cause is about them)
        return {"error": f"it cannot be read: {type(error).__name__}", "too_large": False}


def _thumbnail(source: str, target: str, **wishes: Any) -> Mapping[str, Any]:
    try:
        return asdict(make_thumbnail(Path(source), Path(target), **wishes))
    except ImageError as error:
        return {"error": str(error), "too_large": error.too_large}
    except DiskError as error:
        return {"error": str(error), "is_passing": True}


def _measure(source: str, max_pixels: int) -> Mapping[str, Any]:
    try:
        return asdict(measure(Path(source), max_pixels=max_pixels))
    except ImageError as error:
        return {"error": str(error), "too_large": error.too_large}


def _page(source: str, content_type: str, encoding: str, url: str) -> Mapping[str, Any]:
    return read_page(unpacked(Path(source).read_bytes(), encoding), content_type, url)


def _oembed(source: str, url: str) -> Mapping[str, Any]:
    answer = json.loads(Path(source).read_bytes())
    return read_oembed(answer if isinstance(answer, dict) else {}, url)


JOBS: Mapping[str, Callable[..., Mapping[str, Any]]] = {
    "thumbnail": _thumbnail,
    "measure": _measure,
    "page": _page,
    "oembed": _oembed,
}


if __name__ == "__main__":
    main()
