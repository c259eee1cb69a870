"""Thumbnails of pictures good and bad, in real child processes."""

import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.errors import MatrixError
from synapse_lite.handlers.media.thumbnails import LADDER
from synapse_lite.media.images import measure
from synapse_lite.storage.database import Database
from synapse_lite.storage.media.quarantine import Reason, quarantine
from tests.builders import BOB
from tests.handlers.media_home import media_home

GPS = 0x8825
ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width: int = 640, height: int = 480, mode: str = "RGB") -> Image.Image:
    """A picture that does not compress to nothing: its corners have colours of their own."""
    noise = Image.effect_noise((width, height), 60).convert("RGB")
    for corner, colour in zip(
        ((0, 0), (width // 2, 0), (0, height // 2), (width // 2, height // 2)),
        ("red", "green", "blue", "yellow"),
        strict=True,
    ):
        tint = Image.new("RGB", (width // 2, height // 2), colour)
        part = noise.crop((*corner, corner[0] + width // 2, corner[1] + height // 2))
        noise.paste(Image.blend(part, tint, 0.8), corner)
    return noise.convert(mode)


def read(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def corner(image: Image.Image, right: bool, low: bool) -> str:
    """The name of the colour that is nearest."""
    x, y = image.width * (7 if right else 1) // 8, image.height * (7 if low else 1) // 8
    red, green, blue = image.convert("RGB").resize((image.width, image.height)).getpixel((x, y))  # type: ignore[misc]
    known = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}
    return min(
        known,
        key=lambda name: sum((a - b) ** 2 for a, b in zip(known[name], (red, green, blue), strict=True)),
    )


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes and very many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(b"\0" * (width + 1)) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@ensureDeferred
async def test_scaled_and_cropped(database: Database, tmp_path: Path) -> None:
    """A scaled picture fits the next larger size, a cropped one fills it; none is larger than its source."""
    async with media_home(database, tmp_path) as home:
        mxc = await home.upload(encoded(photo(), "JPEG"), content_type="image/jpeg")
        for asked, method, expected in (
            ((300, 200), "scale", (320, 240)),
            ((20, 20), "crop", (32, 32)),
            ((90, 90), "crop", (96, 96)),
            ((500, 500), "scale", (640, 480)),
            ((5000, 5000), "scale", (640, 480)),
        ):
            media_type, data = await home.thumbnail(mxc, *asked, method)
            assert (media_type, read(data).size) == ("image/jpeg", expected)
        assert len(await home.rows("SELECT 1 FROM media_thumbnails")) == 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr"])
@ensureDeferred
async def test_modes(database: Database, tmp_path: Path, mode: str) -> None:
    """Grey, palette, print colours, 16 bits: all are made smaller."""
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    source = Image.new("I;16", (640, 480), 30_000) if mode == "I;16" else photo(mode=mode)
    async with media_home(database, tmp_path) as home:
        mxc = await home.upload(encoded(source, kind))
        for method in ("scale", "crop"):
            _, data = await home.thumbnail(mxc, 32, 32, method)
            assert read(data).width in (32, 320)


@pytest.mark.parametrize(("width", "height"), [(1, 3000), (3000, 1), (1, 1), (2, 2)])
@ensureDeferred
async def test_extreme_shapes(database: Database, tmp_path: Path, width: int, height: int) -> None:
    """No side becomes zero."""
    async with media_home(database, tmp_path) as home:
        mxc = await home.upload(encoded(Image.new("RGB", (width, height), "red")))
        for method in ("scale", "crop"):
            assert min(read((await home.thumbnail(mxc, 32, 32, method))[1]).size) >= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@ensureDeferred
async def test_turned_upright(database: Database, tmp_path: Path, orientation: int) -> None:
    """However the camera was held, the thumbnail is upright; where the photo was taken is gone."""
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    upright = photo()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif.get_ifd(GPS)[2] = (52.0, 31.0, 12.0)
    stored = upright if turn is None else upright.transpose(turn)
    async with media_home(database, tmp_path) as home:
        mxc = await home.upload(encoded(stored, "JPEG", exif=exif))
        for size, method, expected in ((320, "scale", (320, 240)), (96, "crop", (96, 96))):
            image = read((await home.thumbnail(mxc, size, 240 if method == "scale" else 96, method))[1])
            assert image.size == expected
            assert [corner(image, right, low) for low in (False, True) for right in (False, True)] == [
                "red", "green", "blue", "yellow",
            ]  # fmt: skip
            assert not image.getexif()


@ensureDeferred
async def test_transparency_is_kept(database: Database, tmp_path: Path) -> None:
    """What is transparent stays so."""
    source = photo(mode="RGBA")
    source.paste((0, 0, 0, 0), (0, 0, 320, 240))
    async with media_home(database, tmp_path) as home:
        for kind in ("PNG", "WEBP"):
            mxc = await home.upload(encoded(source, kind))
            image = read((await home.thumbnail(mxc, 96, 96, "crop"))[1]).convert("RGBA")
            assert image.getpixel((2, 2))[3] < 20  # type: ignore[index]
            assert image.getpixel((90, 90))[3] == 255  # type: ignore[index]


@ensureDeferred
async def test_a_thumbnail_is_not_larger(database: Database, tmp_path: Path) -> None:
    """A small picture serves as its own thumbnail, unless it tells where it was taken."""
    plain = encoded(Image.new("1", (400, 400)), optimize=True)
    exif = Image.Exif()
    exif.get_ifd(GPS)[2] = (52.0, 31.0, 12.0)
    telling = encoded(Image.new("RGB", (100, 100), "red"), "JPEG", exif=exif, quality=1)
    async with media_home(database, tmp_path) as home:
        assert (await home.thumbnail(await home.upload(plain), 320, 240))[1] == plain
        _, data = await home.thumbnail(await home.upload(telling), 320, 240)
        assert not read(data).getexif()


@ensureDeferred
async def test_animation(database: Database, tmp_path: Path) -> None:
    """Pictures move only when asked for, and not when that would be too much."""
    frames = [photo(200, 200).rotate(turn) for turn in (0, 90, 180)]
    many = [Image.new("L", (8, 8), shade % 256) for shade in range(400)]
    async with media_home(database, tmp_path) as home:
        for kind in ("GIF", "WEBP"):
            data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, loop=0)
            mxc = await home.upload(data)
            still = read((await home.thumbnail(mxc, 96, 96, "crop"))[1])
            moving = read((await home.thumbnail(mxc, 96, 96, "crop", animated=True))[1])
            assert getattr(still, "n_frames", 1) == 1
            assert (moving.n_frames, moving.size) == (3, (96, 96))  # type: ignore[attr-defined]
        mxc = await home.upload(encoded(many[0], "GIF", save_all=True, append_images=many[1:]))
        still = read((await home.thumbnail(mxc, 32, 32, "crop", animated=True))[1])
        assert getattr(still, "n_frames", 1) == 1


NOT_PICTURES = {
    "text": b"hello",
    "nothing": b"",
    "random": bytes(range(256)) * 40,
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>',
    "html in png": b"\x89PNG\r\n\x1a\n<html><script>alert(1)</script>",
    "truncated png": encoded(photo())[:5000],
    "truncated jpeg": encoded(photo(), "JPEG")[:200],
    "bmp": encoded(Image.new("RGB", (9, 9)), "BMP"),
    "tiff": encoded(Image.new("RGB", (9, 9)), "TIFF"),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
    "icon": encoded(Image.new("RGB", (16, 16)), "ICO"),
    "pdf": b"%PDF-1.4\n1 0 obj\n<< >>\nendobj\n",
}


@pytest.mark.parametrize("name", NOT_PICTURES)
@ensureDeferred
async def test_what_is_no_picture(database: Database, tmp_path: Path, name: str) -> None:
    """Uploading it works, whatever type it claims; a thumbnail is 400, the second time without decoding."""
    async with media_home(database, tmp_path) as home:
        mxc = await home.upload(NOT_PICTURES[name], content_type="image/png")
        for _ in range(2):
            with pytest.raises(MatrixError) as refused:
                await home.thumbnail(mxc, 32, 32)
            assert (refused.value.status, refused.value.errcode) == (400, "M_UNKNOWN")
            home.workers.stop()  # the second time nobody is asked
        assert await home.download(mxc) == NOT_PICTURES[name]


@ensureDeferred
async def test_bombs(database: Database, tmp_path: Path) -> None:
    """Few bytes of very many pixels are refused by their size before they are decoded; the pool lives on."""
    async with media_home(database, tmp_path) as home:
        for width, height in ((20_000, 20_000), (2_000_000, 3), (4_000_001, 1)):
            mxc = await home.upload(bomb(width, height))
            with pytest.raises(MatrixError) as refused:
                await home.thumbnail(mxc, 32, 32)
            assert (refused.value.status, refused.value.errcode) == (413, "M_TOO_LARGE")
        fine = await home.upload(encoded(photo()))
        assert (await home.thumbnail(fine, 32, 32))[0] == "image/jpeg"


@ensureDeferred
async def test_large_jpegs_are_reduced_while_decoding(database: Database, tmp_path: Path) -> None:
    """A JPEG of more pixels than the limit still has thumbnails."""
    large = photo(3000, 2000)
    async with media_home(database, tmp_path, max_pixels=1_000_000) as home:
        mxc = await home.upload(encoded(large, "JPEG", quality=20))
        assert read((await home.thumbnail(mxc, 320, 240))[1]).size == (320, 213)


@ensureDeferred
async def test_photos_with_further_pictures(database: Database, tmp_path: Path) -> None:
    """As phones make them (MPO): each is the JPEG that it begins with, and does not move; nor is it served with the others."""
    data = encoded(photo(3000, 2000), "MPO", save_all=True, append_images=[photo(300, 200)], quality=20)
    little = encoded(photo(320, 320), "MPO", save_all=True, append_images=[photo(2, 2)], quality=1)
    (tmp_path / "photo").write_bytes(data)
    assert measure(tmp_path / "photo", max_pixels=10_000_000).media_type == "image/jpeg"
    async with media_home(database, tmp_path, max_pixels=1_000_000) as home:
        mxc = await home.upload(data)
        for animated in (False, True):
            media_type, made = await home.thumbnail(mxc, 320, 240, animated=animated)
            assert (media_type, read(made).size) == ("image/jpeg", (320, 213))
        assert (await home.thumbnail(await home.upload(little), 320, 240))[1] != little


@ensureDeferred
async def test_large_pngs_are_shown_as_they_are(database: Database, tmp_path: Path) -> None:
    """Undecoded, as avatars from elsewhere may be; not when they say more than the picture, or are out of proportion."""
    large = encoded(photo())
    exif = Image.Exif()
    exif[ORIENTATION] = 1  # with nothing beside it, the place would not be written
    exif.get_ifd(GPS)[2] = (52.0, 31.0, 12.0)
    place = PngInfo()
    place.add(b"tEXt", b"Comment\0at home", after_idat=True)
    async with media_home(database, tmp_path, max_pixels=200_000) as home:
        assert await home.thumbnail(await home.upload(large), 96, 96) == ("image/png", large)
        for data in (
            encoded(photo(), pnginfo=place),
            encoded(photo(), exif=exif),
            bomb(10_001, 30),
        ):
            with pytest.raises(MatrixError) as refused:
                await home.thumbnail(await home.upload(data), 96, 96)
            assert (refused.value.status, refused.value.errcode) == (413, "M_TOO_LARGE")


@ensureDeferred
async def test_equal_pictures_share_thumbnails(database: Database, tmp_path: Path) -> None:
    """Equal bytes of two people are decoded once; so are equal wishes that come together."""
    data = encoded(photo())
    async with media_home(database, tmp_path) as home:
        first, second = await home.upload(data), await home.upload(data, user_id=BOB)
        wishes = [Deferred.fromCoroutine(home.thumbnail(mxc, 96, 96, "crop")) for mxc in 10 * [first, second]]
        assert len(set(await gatherResults(wishes))) == 1
        assert sum(worker.jobs for worker in home.workers._all) == 1


@ensureDeferred
async def test_a_crowd(database: Database, tmp_path: Path) -> None:
    """More first thumbnails at once than processes: all of them arrive."""
    async with media_home(database, tmp_path) as home:
        mxcs = [
            await home.upload(encoded(Image.new("RGB", (200 + n, 100), "red"), "JPEG")) for n in range(60)
        ]
        wishes = [Deferred.fromCoroutine(home.thumbnail(mxc, 32, 32, "crop")) for mxc in mxcs]
        assert {read(data).size for _, data in await gatherResults(wishes)} == {(32, 32)}
        assert len(home.workers._all) == 2


@ensureDeferred
async def test_few_sizes_of_many(database: Database, tmp_path: Path) -> None:
    """Of any size asked for only the steps of a ladder are made."""
    async with media_home(database, tmp_path, dynamic=True) as home:
        mxc = await home.upload(encoded(photo(1700, 1300), "JPEG", quality=5))
        for side in range(1, 2000, 17):
            await home.thumbnail(mxc, side, side, "scale")
            await home.thumbnail(mxc, side, side, "crop")
        assert len(await home.rows("SELECT 1 FROM media_thumbnails")) <= 2 * len(LADDER)


@ensureDeferred
async def test_hidden_while_it_is_made(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a thumbnail does not see what was put into quarantine meanwhile."""
    async with media_home(database, tmp_path) as home:
        mxc = await home.upload(encoded(photo()))
        run = home.workers.run

        async def run_and_hide(job: Mapping[str, Any]) -> Mapping[str, Any]:
            made = await run(job)
            reason = Reason(BOB, "a test", 1)
            await database.transact(quarantine, [(mxc.origin, mxc.media_id)], reason)
            return made

        monkeypatch.setattr(home.workers, "run", run_and_hide)
        with pytest.raises(MatrixError) as refused:
            await home.thumbnail(mxc, 32, 32, "crop")
        assert refused.value.status == 404
