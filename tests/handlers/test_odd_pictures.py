"""Pictures that a browser shows although something about them is broken: they have thumbnails, too."""

import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from pytest_twisted import ensureDeferred

from synapse_lite.media.images import measure
from synapse_lite.storage.database import Database
from tests.handlers.media_home import media_home
from tests.handlers.test_media_thumbnails import encoded, photo, read

PNG_HEAD = 33  # bytes of signature and first chunk
ONE_ENTRY = b"Exif\0\0II*\0\x08\0\0\0\x01\0"


def _png_with(kind: bytes, data: bytes) -> bytes:
    """A chunk more, before the picture."""
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    png = encoded(photo())
    return png[:PNG_HEAD] + struct.pack(">I", len(data)) + kind + data + checksum + png[PNG_HEAD:]


def _jpeg_with(exif: bytes) -> bytes:
    jpeg = encoded(photo(), "JPEG")
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def _oriented(value: bytes, kind: int = 3) -> bytes:
    return _jpeg_with(ONE_ENTRY + struct.pack("<HHI", 0x0112, kind, 1) + value.ljust(4, b"\0") + bytes(4))


LONG = zlib.compress(bytes(2_000_000))
ODD = {
    "exif of a png": _png_with(b"eXIf", b"nonsense"),
    "exif of a webp": encoded(photo(), "WEBP", exif=b"nonsense"),
    "exif of a jpeg": _jpeg_with(b"Exif\0\0nonsense"),
    "orientation that is none": _oriented(b"\x63"),
    "orientation in words": _oriented(b"a", kind=2),
    "long text": _png_with(b"zTXt", b"drawing\0\0" + LONG),
    "long profile": _png_with(b"iCCP", b"printer\0\0" + LONG),
}


@pytest.mark.parametrize("name", ODD)
@ensureDeferred
async def test_odd_pictures(database: Database, tmp_path: Path, name: str) -> None:
    """What is beside the picture does not matter, and turns it in no preview that it does not turn in a thumbnail."""
    async with media_home(database, tmp_path) as home:
        mxc = await home.upload(ODD[name])
        for animated in (False, True):
            assert read((await home.thumbnail(mxc, 320, 240, animated=animated))[1]).size == (320, 240)
    (tmp_path / "picture").write_bytes(ODD[name])
    if not name.startswith("long"):  # such limits are those of a child process
        measured = measure(tmp_path / "picture", max_pixels=1_000_000)
        assert (measured.width, measured.height) == (640, 480)


@ensureDeferred
async def test_an_animation_that_breaks_off(database: Database, tmp_path: Path) -> None:
    """It moves as far as it goes, and who asks for that spoils it for nobody who wants it to stand still."""
    parts = [photo(200, 150) for _ in range(4)]
    whole = encoded(parts[0], "GIF", save_all=True, append_images=parts[1:])
    async with media_home(database, tmp_path) as home:
        mxc = await home.upload(whole[:-1000])
        media_type, moving = await home.thumbnail(mxc, 320, 240, animated=True)
        assert (media_type, getattr(read(moving), "n_frames", 1)) == ("image/webp", 3)
        assert (await home.thumbnail(mxc, 96, 96))[0] == "image/jpeg"


@ensureDeferred
async def test_places_in_text(database: Database, tmp_path: Path) -> None:
    """A small picture serves as its own thumbnail only where it does not say where it was taken."""
    little = encoded(Image.new("RGB", (40, 30), "red"))
    text = b"XML:com.adobe.xmp\0\0\0\0\0<exif:GPSLatitude>52</exif:GPSLatitude>"
    chunk = struct.pack(">I", len(text)) + b"iTXt" + text + struct.pack(">I", zlib.crc32(b"iTXt" + text))
    async with media_home(database, tmp_path) as home:
        assert (await home.thumbnail(await home.upload(little), 96, 96))[1] == little
        told = little[:PNG_HEAD] + chunk + little[PNG_HEAD:]
        assert b"GPS" not in (await home.thumbnail(await home.upload(told), 96, 96))[1]
