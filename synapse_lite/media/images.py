"""Pictures: recognised by their content, turned upright, made smaller. Runs in child processes only.

Of four formats the decoders are trusted enough to be run at all; whatever else claims to be a picture is none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EFBIG
from io import BytesIO
from os import SEEK_CUR
from pathlib import Path
from struct import Struct
from typing import Any

from attrs import frozen
from PIL import Image, ImageSequence
from PIL.JpegImagePlugin import JpegImageFile

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
MAX_FRAMES = 300
MAX_ANIMATED_PIXELS = 100_000_000
"""Of all frames together, before they are made smaller."""

MAX_SOURCE_PIXELS = 4_000_000
"""What has more is not served in place of its thumbnail, however few bytes it has."""

MAX_SHOWN_SIDE = 10_000
MAX_SHOWN_BYTES = 10 * 1024 * 1024
"""A PNG of too many pixels serves as it is within these bounds, as its decoder cannot reduce it as that of JPEG does."""

_BARE_CHUNKS = frozenset(
    (
        b"IHDR",
        b"PLTE",
        b"IDAT",
        b"IEND",
        b"tRNS",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"iCCP",
        b"sBIT",
        b"bKGD",
        b"pHYs",
    )
)
"""Of a PNG that holds one picture, and says nothing of where it was taken."""

_METADATA = frozenset({"exif", "xmp", "mp", "Raw profile type exif"})
"""What Pillow calls what may tell where a picture was taken."""

_WIDE = frozenset({"I", "I;16", "I;16B", "I;16L", "F"})
_JPEG_QUALITY = 82
_WEBP_QUALITY = 80
_ORIENTATION = 0x0112
_PNG_SIGNATURE_BYTES = 8
_CHUNK_HEAD = Struct(">I4s")  # length of the data, and type
_CHUNK_CHECKSUM_BYTES = 4
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes an orientation of EXIF."""
_TURNED = frozenset({5, 6, 7, 8})  # orientations that exchange width and height


class ImageError(Exception):
    """There is no thumbnail of this, and there never will be. `too_large`: only because of its size."""

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(reason)
        self.too_large = too_large


class DiskError(Exception):
    """The disk failed, not the picture: another time there may be a thumbnail."""


@frozen
class Picture:
    """What was made; `media_type` and sides (pixels) of it. `is_source`: the source serves as it is."""

    media_type: str
    width: int
    height: int
    is_source: bool = False


def make_thumbnail(
    source: Path, target: Path, *, width: int, height: int, crop: bool, animated: bool, max_pixels: int
) -> Picture:
    """Write a picture that fits the box, or with `crop` fills it. Never larger than the source. `DiskError`."""
    try:
        with _opened(source) as image:
            return _make(image, source, target, (width, height), crop, animated, max_pixels)
    except (ImageError, DiskError):
        raise
    except FileNotFoundError:
        raise DiskError("the file is gone") from None
    except MemoryError:
        raise ImageError("it needs too much memory", too_large=True) from None
    except Exception as error:  # noqa: BLE001 (whatever a decoder raises means the same)
        raise ImageError(f"it cannot be read: {type(error).__name__}") from None


def measure(source: Path, *, max_pixels: int) -> Picture:
    """Type and upright sides of a picture that can be decoded: `ImageError` else."""
    try:
        with _opened(source) as image:
            _check_size(image, max_pixels)
            image.load()
            turned = _orientation(image) in _TURNED
            width, height = (image.height, image.width) if turned else image.size
            return Picture(Image.MIME[str(image.format)], width, height, is_source=True)
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001 (as above)
        raise ImageError(f"it cannot be read: {type(error).__name__}") from None


@contextmanager
def _opened(source: Path) -> Iterator[Image.Image]:
    """Phones put further pictures behind a photo, which Pillow takes for a format (MPO) of its own: the first one is the photo."""
    with Image.open(source, formats=FORMATS) as image:
        if image.format != "MPO":
            yield image
            return
    with JpegImageFile(source) as photo:
        yield photo


def _make(
    image: Image.Image,
    source: Path,
    target: Path,
    box: tuple[int, int],
    crop: bool,
    animated: bool,
    max_pixels: int,
) -> Picture:
    source_type = Image.MIME[str(image.format)]
    full_size = image.size
    if image.format == "JPEG":
        # Decodes to a half, a quarter or an eighth at once: less memory, and larger pictures are possible.
        image.draft(None, (2 * box[0], 2 * box[1]))
    if image.width * image.height > max_pixels and _serves_undecoded(image, source):
        return Picture(source_type, *full_size, is_source=True)
    _check_size(image, max_pixels)
    frames = getattr(image, "n_frames", 1)
    if animated and 1 < frames <= MAX_FRAMES and image.width * image.height * frames <= MAX_ANIMATED_PIXELS:
        return _animate(image, target, box, crop)
    small = _resize(_simple(_upright(image)), box, crop)
    is_plain = (
        frames == 1 and not image.info.keys() & _METADATA
    )  # what stands behind the picture is read by now
    media_type = _save(small, target)
    no_gain = target.stat().st_size >= source.stat().st_size
    if is_plain and no_gain and full_size[0] * full_size[1] <= MAX_SOURCE_PIXELS:
        return Picture(source_type, *full_size, is_source=True)
    return Picture(media_type, *small.size)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise ImageError(f"it has {image.width} by {image.height} pixels", too_large=True)


def _serves_undecoded(image: Image.Image, source: Path) -> bool:
    if image.format != "PNG" or max(image.size) > MAX_SHOWN_SIDE or source.stat().st_size > MAX_SHOWN_BYTES:
        return False
    return _png_chunks(source) <= _BARE_CHUNKS


def _png_chunks(source: Path) -> set[bytes]:
    """The types of its chunks."""
    kinds: set[bytes] = set()
    with source.open("rb") as file:
        file.seek(_PNG_SIGNATURE_BYTES)
        while len(head := file.read(_CHUNK_HEAD.size)) == _CHUNK_HEAD.size:
            length, kind = _CHUNK_HEAD.unpack(head)
            kinds.add(kind)
            file.seek(length + _CHUNK_CHECKSUM_BYTES, SEEK_CUR)
    return kinds


def _orientation(image: Image.Image) -> object:
    """1 to 8, if it makes sense: where EXIF is broken, the picture need not be."""
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 (whatever its reader raises)
        return None


def _upright(image: Image.Image) -> Image.Image:
    orientation = _orientation(image)
    turn = next((turn for value, turn in _UPRIGHT.items() if value == orientation), None)
    return image if turn is None else image.transpose(turn)


def _simple(image: Image.Image) -> Image.Image:
    """In one of the modes that every encoder takes: grey, colour, colour with transparency."""
    if image.mode in _WIDE:
        return image.convert("I").point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _resize(image: Image.Image, box: tuple[int, int], crop: bool) -> Image.Image:
    if crop:
        image = image.crop(_middle(image.size, box))
    factor = min(box[0] / image.width, box[1] / image.height, 1.0)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _middle(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest part in the middle that has the shape of the box."""
    width = min(size[0], max(1, round(size[1] * box[0] / box[1])))
    height = min(size[1], max(1, round(size[0] * box[1] / box[0])))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def _save(image: Image.Image, target: Path) -> str:
    """The media type. Nothing of the source's metadata goes along: it may tell where a photo was taken."""
    data = BytesIO()
    if image.mode == "RGBA":
        image.save(data, "WEBP", quality=_WEBP_QUALITY, method=2, exif=b"", xmp=b"", icc_profile=None)
        _write(target, data)
        return "image/webp"
    image.save(data, "JPEG", quality=_JPEG_QUALITY, optimize=True, exif=b"", icc_profile=None, comment=b"")
    _write(target, data)
    return "image/jpeg"


def _write(target: Path, data: BytesIO) -> None:
    """Encoders that write to a file themselves do not say whether it was they that failed, or the disk."""
    try:
        target.write_bytes(data.getbuffer())
    except OSError as error:
        if error.errno == EFBIG:
            raise ImageError("its thumbnail would be too large", too_large=True) from None
        raise DiskError(f"the thumbnail cannot be written: {error.strerror}") from None


def _animate(image: Image.Image, target: Path, box: tuple[int, int], crop: bool) -> Picture:
    frames: list[Image.Image] = []
    durations: list[int] = []
    try:
        for frame in ImageSequence.Iterator(image):
            frames.append(_resize(frame.convert("RGBA"), box, crop))
            durations.append(_duration(frame.info))
    except (OSError, SyntaxError, ValueError):
        if not frames:  # else it is shown as far as it goes, as browsers do
            raise
    data = BytesIO()
    frames[0].save(
        data,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=image.info.get("loop", 0),
        quality=_WEBP_QUALITY,
        method=0,
    )
    _write(target, data)
    return Picture("image/webp", *frames[0].size)


def _duration(info: dict[Any, Any]) -> int:
    """Milliseconds; what browsers take a missing or absurd one for."""
    duration = info.get("duration", 100)
    return int(duration) if isinstance(duration, int | float) and 10 < duration <= 60_000 else 100  # noqa: PLR2004
