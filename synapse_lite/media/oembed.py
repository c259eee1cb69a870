"""Sites that describe their pages by oEmbed (oembed.com): which URL to ask about which page."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from attrs import frozen

from synapse_lite.errors import ConfigError


@frozen
class Provider:
    """`pages` match whole URLs."""

    pages: tuple[re.Pattern[str], ...]
    endpoint: str

    def url_for(self, page: str) -> str:
        return f"{self.endpoint}?{urlencode({'url': page, 'format': 'json'})}"


def _provider(endpoint: str, *schemes: str) -> Provider:
    return Provider(tuple(_pattern(scheme) for scheme in schemes), endpoint.replace("{format}", "json"))


def _pattern(scheme: str) -> re.Pattern[str]:
    """Stars stand for anything; http and https are the same."""
    text = ".*".join(re.escape(part) for part in scheme.split("*"))
    return re.compile(re.sub(r"^https?:", "https?:", text))


DEFAULT_PROVIDERS = (
    _provider(
        "https://publish.twitter.com/oembed",
        "https://twitter.com/*/status/*",
        "https://*.twitter.com/*/status/*",
        "https://x.com/*/status/*",
    ),
    _provider(
        "https://www.youtube.com/oembed",
        "https://*.youtube.com/watch*",
        "https://*.youtube.com/shorts/*",
        "https://youtu.be/*",
    ),
    _provider("https://vimeo.com/api/oembed.json", "https://vimeo.com/*", "https://player.vimeo.com/video/*"),
    _provider("https://www.tiktok.com/oembed", "https://www.tiktok.com/*/video/*"),
    _provider("https://soundcloud.com/oembed", "https://soundcloud.com/*"),
    _provider("https://open.spotify.com/oembed", "https://open.spotify.com/*"),
    _provider("https://www.reddit.com/oembed", "https://*.reddit.com/r/*/comments/*"),
    _provider(
        "https://www.flickr.com/services/oembed/", "https://*.flickr.com/photos/*", "https://flic.kr/p/*"
    ),
)
"""Sites whose pages say little or ask for consent, and that answer oEmbed without a key."""


def find_provider(providers: Iterable[Provider], page: str) -> Provider | None:
    for provider in providers:
        if any(pattern.fullmatch(page) for pattern in provider.pages):
            return provider
    return None


def load_providers(files: Sequence[Path]) -> list[Provider]:
    """From files in the format of oembed.com/providers.json. `ConfigError` names the file."""
    found = []
    for file in files:
        try:
            entries = json.loads(file.read_text("utf-8"))
            found += [provider for entry in entries for provider in _of_entry(entry)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"oembed: {file}: {error}") from None
    return found


def _of_entry(entry: Mapping[str, Any]) -> Iterable[Provider]:
    for endpoint in entry["endpoints"]:
        if endpoint.get("schemes"):
            yield _provider(endpoint["url"], *endpoint["schemes"])
