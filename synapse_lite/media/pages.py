"""What a web page says about itself: OpenGraph, or what stands in for it. Runs in child processes only."""

import codecs
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin

from lxml import etree

MAX_VALUES = 50
MAX_VALUE = 1000
MAX_ELEMENTS = 200_000
MAX_UNPACKED = 10 * 1024 * 1024
SHORT, LONG = 200, 500
"""A description made of the text ends at a word between these lengths."""

_HEAD_BYTES = 4096
_XML = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']?([A-Za-z0-9._:-]{1,40})""")
_META = re.compile(rb"""<meta[^>]{0,300}?charset\s*=\s*["']?\s*([A-Za-z0-9._:-]{1,40})""", re.IGNORECASE)
_HEADER = re.compile(r"""charset\s*=\s*["']?\s*([A-Za-z0-9._:-]{1,40})""", re.IGNORECASE)
_PIXELS = re.compile(r"[0-9]{1,6}")
_AS_BROWSERS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "iso8859-1": "cp1252",
}
"""What a name means on the web (Encoding Standard): pages have more letters than the standard that they name."""
SOUND = 10
"""Of so many letters beyond ASCII one may be broken."""

_BLANKS = re.compile(r"\s+")
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_UNSEEN = frozenset(
    ("script", "style", "noscript", "template", "svg", "head", "header", "nav", "aside", "footer", "form")
)
_TWITTER = {"twitter:title": "og:title", "twitter:description": "og:description", "twitter:image": "og:image"}
_OF_PICTURE = frozenset(
    f"og:image:{name}" for name in ("url", "secure_url", "type", "width", "height", "user_generated")
)
"""What is found out of the picture itself."""
_PICTURES = ("og:image", "og:image:secure_url", "og:image:url")
_ZLIB_OR_GZIP = 47  # zlib's word for: whichever it is
_HEADINGS = ("h1", "h2", "h3")


def read_page(data: bytes, content_type: str, url: str) -> dict[str, Any]:
    """`og`: the values by name; `image`, `shown` and `oembed`: absolute URLs, or None. `shown` is a picture that the page shows and does
    not name as its own.
    """
    tree = _parse(data, content_type)
    if tree is None:
        return {"og": {}, "image": None, "shown": None, "oembed": None}
    properties = _properties(tree)
    named = [properties[name] for name in _PICTURES if name in properties]
    image = next(filter(_is_elsewhere, named), None) or _item_image(tree) or _link(tree, "image_src")
    shown = _largest(tree) or _link(tree, "icon")
    og: dict[str, str | None] = {name: value for name, value in properties.items() if name not in _OF_PICTURE}
    og.pop("og:image", None)
    og["og:title"] = og.get("og:title") or _title(tree)
    og["og:description"] = og.get("og:description") or _description(tree)
    return {
        "og": {name: value for name, value in og.items() if value},
        "image": None if image is None else _absolute(url, image),
        "shown": None if shown is None else _absolute(url, shown),
        "oembed": _oembed(tree, url),
    }


def unpacked(data: bytes, encoding: str) -> bytes:
    """A page as it is: some servers pack it for whoever asks. `encoding` as in `Content-Encoding`; `ValueError`, `zlib.error`."""
    kind = encoding.strip().lower()
    if kind in ("", "identity"):
        return data
    if kind not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"it is packed by {kind[:20]}")
    return zlib.decompressobj(_ZLIB_OR_GZIP).decompress(data, MAX_UNPACKED)


def text_of_html(html: str) -> str:
    """Of a fragment, as oEmbed has it."""
    tree = _parse(html.encode("utf-8", "replace"), "text/html; charset=utf-8")
    return "" if tree is None else _text(tree)


def decode(data: bytes, content_type: str) -> str:
    """By byte order mark, header, the page's own word, UTF-8, and what is left of Windows; never fails.

    A page whose letters are sound but for a few, as of a description that was cut within one, is what it says.
    """
    for bom, codec in _BOMS:
        if data.startswith(bom):
            return data.decode(codec, "replace")
    named = list(_codecs(data[:_HEAD_BYTES], content_type))
    for codec in named:
        with suppress(LookupError, UnicodeError):
            return data.decode(codec)
    for codec in named:
        with suppress(LookupError, UnicodeError):
            text = data.decode(codec, "replace")
            if text.count("\ufffd") * SOUND <= len(text) - len(text.encode("ascii", "ignore")):
                return text
    return data.decode("cp1252", "replace")


def _codecs(head: bytes, content_type: str) -> Iterator[str]:
    for name in _charsets(head, content_type):
        with suppress(LookupError):
            codec = codecs.lookup(name).name
            yield _AS_BROWSERS.get(codec, codec)


def _charsets(head: bytes, content_type: str) -> Iterator[str]:
    header = _HEADER.search(content_type)
    if header is not None:
        yield header[1]
    for pattern in (_META, _XML):
        found = pattern.search(head)
        if found is not None:
            yield found[1].decode("ascii")
    yield "utf-8"


def _parse(data: bytes, content_type: str) -> Any:
    text = decode(data, content_type).replace("\0", "")
    parser = etree.HTMLParser(
        encoding="utf-8", recover=True, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(text.encode("utf-8", "replace"), parser)
    except etree.LxmlError:
        return None


def _properties(tree: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    spare: dict[str, str] = {}
    for meta in tree.iter("meta"):
        name = (meta.get("property") or meta.get("name") or "").strip().lower()
        value = _clean(meta.get("content"))
        if not value:
            continue
        if name.startswith("og:") and len(found) < MAX_VALUES:
            found.setdefault(name, value)
        elif name in _TWITTER:
            spare.setdefault(_TWITTER[name], value)
        elif name == "description":
            spare.setdefault("og:description", value)
    return {**spare, **found}


def _title(tree: Any) -> str | None:
    for kind in ("title", *_HEADINGS):
        for element in tree.iter(kind):
            if text := _clean("".join(element.itertext())):
                return text
    return None


def _description(tree: Any) -> str | None:
    body = tree.find("body")
    return _shorten(_text(tree if body is None else body)) or None


def _text(root: Any) -> str:
    """Without what a reader does not see. No recursion: a page may be nested without end."""
    parts: list[str] = []
    length = 0
    waiting: list[Any] = [root]
    for _ in range(MAX_ELEMENTS):
        if not waiting or length > 2 * LONG:
            break
        item = waiting.pop()
        if isinstance(item, str):
            text = _BLANKS.sub(" ", item).strip()
            parts.append(text)
            length += len(text)
            continue
        if item.tail and item is not root:
            waiting.append(item.tail)
        if item.tag in _UNSEEN or item.get("hidden") is not None or item.get("aria-hidden") == "true":
            continue
        waiting.extend(reversed(item))
        if item.text:
            waiting.append(item.text)
    return " ".join(part for part in parts if part)


def _shorten(text: str) -> str:
    if len(text) <= LONG:
        return text
    end = text.rfind(" ", SHORT, LONG)
    return text[: end if end > 0 else LONG].rstrip() + "…"


def _item_image(tree: Any) -> str | None:
    for meta in tree.iter("meta"):
        if (meta.get("itemprop") or "").lower() == "image" and (marked := _clean(meta.get("content"))):
            return marked
    return None


def _largest(tree: Any) -> str | None:
    """The first of the pictures of the page, where it says of none how large it is."""
    pictures = [image for image in tree.iter("img") if _is_elsewhere(_clean(image.get("src")))]
    return _clean(max(pictures, key=_area).get("src")) if pictures else None


def _is_elsewhere(reference: str | None) -> bool:
    """Not within the page, as what holds the place of a picture until a script brings it."""
    return bool(reference) and not str(reference).lower().startswith("data:")


def _area(image: Any) -> int:
    """As the page says, in pixels; 0 where it does not."""
    width, height = (image.get(name) or "" for name in ("width", "height"))
    return int(width) * int(height) if _PIXELS.fullmatch(width) and _PIXELS.fullmatch(height) else 0


def _link(tree: Any, relation: str) -> str | None:
    for link in tree.iter("link"):
        if relation in (link.get("rel") or "").lower().split():
            href: str | None = link.get("href")
            return _clean(href)
    return None


def _oembed(tree: Any, url: str) -> str | None:
    for link in tree.iter("link"):
        if (link.get("type") or "").lower() == "application/json+oembed" and link.get("href"):
            return _absolute(url, link.get("href").strip())
    return None


def _absolute(base: str, reference: str) -> str | None:
    try:
        return urljoin(base, reference)
    except ValueError:  # brackets that are no address
        return None


def _clean(text: str | None) -> str | None:
    if text is None:
        return None
    whole = text.encode("utf-8", "replace").decode()  # JSON may hold half a letter
    return _BLANKS.sub(" ", whole).strip()[:MAX_VALUE]


def read_oembed(answer: Mapping[str, Any], url: str) -> dict[str, Any]:
    """As `read_page`, and `cache_age` (seconds) when it is a sane number. Wrong types count as absent."""
    og = {
        "og:title": _text_or_none(answer.get("title")) or _text_or_none(answer.get("author_name")),
        "og:site_name": _text_or_none(answer.get("provider_name")),
    }
    kind = answer.get("type")
    html = answer.get("html")
    if kind == "rich" and isinstance(html, str):
        og["og:description"] = _shorten(text_of_html(html[:100_000]))
    if kind == "video":
        og["og:type"] = "video.other"
    image = answer.get("url") if kind == "photo" else answer.get("thumbnail_url")
    age = answer.get("cache_age")
    if isinstance(age, str) and age.isdecimal():
        age = int(age[:12])
    return {
        "og": {name: value for name, value in og.items() if value},
        "image": _absolute(url, image) if isinstance(image, str) else None,
        "oembed": None,
        "cache_age": age if isinstance(age, int) and not isinstance(age, bool) else None,
    }


def _text_or_none(value: object) -> str | None:
    return _clean(value) if isinstance(value, str) else None
