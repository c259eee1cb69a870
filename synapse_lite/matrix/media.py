"""mxc URIs, file names and content types (client-server API, "Content repository")."""

import re
from email.message import Message
from urllib.parse import quote

from attrs import frozen

from synapse_lite.ids import is_server_name

MAX_NAME_BYTES = 255
MAX_TYPE = 255
OCTETS = "application/octet-stream"

INLINE = frozenset(
    {
        "text/css", "text/plain", "text/csv", "application/json", "application/ld+json",
        "image/jpeg", "image/gif", "image/png", "image/apng", "image/webp", "image/avif",
        "video/mp4", "video/webm", "video/ogg", "video/quicktime",
        "audio/mp4", "audio/webm", "audio/aac", "audio/mpeg", "audio/ogg", "audio/wave", "audio/wav",
        "audio/x-wav", "audio/x-pn-wav", "audio/flac", "audio/x-flac",
    }
)  # fmt: skip
"""The list of the specification: what a browser may show. Everything else is only downloaded."""

_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(?:[ ]*;[ -~]*)?")
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_TOKEN = re.compile(r"[A-Za-z0-9!#$&+.^_`|~-]+")
_ATTRIBUTE = "!#$&+-.^_`|~"


@frozen
class Mxc:
    """`mxc://<origin>/<media_id>`"""

    origin: str
    media_id: str

    def __str__(self) -> str:
        return f"mxc://{self.origin}/{self.media_id}"


def is_media(origin: str, media_id: str) -> bool:
    """Whether the two may be the parts of an mxc URI: nothing in them can lead out of a directory."""
    return is_server_name(origin) and _MEDIA_ID.fullmatch(media_id) is not None


def parse_mxc(uri: object) -> Mxc | None:
    """None for anything else."""
    if not isinstance(uri, str) or not uri.startswith("mxc://"):
        return None
    origin, _, media_id = uri[6:].partition("/")
    return Mxc(origin, media_id) if is_media(origin, media_id) else None


def clean_name(name: str | None) -> str | None:
    """The last part of a path, without controls and direction marks, cut to 255 bytes; None when nothing is left."""
    if name is None:
        return None
    last = re.split(r"[/\\]", _NOT_IN_NAMES.sub("", name))[-1].strip()
    encoded = last.encode("utf-8", "ignore")[:MAX_NAME_BYTES]
    return encoded.decode("utf-8", "ignore") or None


def clean_type(content_type: str) -> str:
    """A media type that can be sent back as a header; what is none is `application/octet-stream`."""
    text = content_type.strip()
    return text if len(text) <= MAX_TYPE and _TYPE.fullmatch(text) else OCTETS


def essence(content_type: str) -> str:
    """Without parameters, in small letters."""
    return content_type.partition(";")[0].strip().lower()


def served_type(content_type: str) -> str:
    """Text without a charset is UTF-8, as browsers would guess otherwise."""
    kind = essence(content_type)
    return f"{kind}; charset=utf-8" if kind.startswith("text/") and ";" not in content_type else content_type


def content_disposition(content_type: str, name: str | None) -> str:
    """`inline` for what is safe to show, else `attachment`; the name in ASCII where it fits, else as RFC 5987 has it."""
    disposition = "inline" if essence(content_type) in INLINE else "attachment"
    if name is None:
        return disposition
    if _TOKEN.fullmatch(name):
        return f"{disposition}; filename={name}"
    if name.isascii() and name.isprintable():
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'{disposition}; filename="{escaped}"'
    return f"{disposition}; filename*=utf-8''{quote(name, safe=_ATTRIBUTE)}"


def name_of(disposition: str) -> str | None:
    """The file name that a `Content-Disposition` gives, in whatever form, not cleaned; None when it gives none."""
    message = Message()
    message["Content-Disposition"] = _NOT_IN_NAMES.sub("", disposition)
    return message.get_filename()
