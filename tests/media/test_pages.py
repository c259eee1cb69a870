"""What is read out of pages, in every encoding and shape."""

from typing import Any

import pytest

from synapse_lite.media.oembed import DEFAULT_PROVIDERS, find_provider, load_providers
from synapse_lite.media.pages import decode, read_oembed, read_page

URL = "https://example.org/a/page"


def og(html: str | bytes, content_type: str = "text/html") -> dict[str, Any]:
    data = html if isinstance(html, bytes) else html.encode()
    return read_page(data, content_type, URL)["og"]


def test_open_graph() -> None:
    """All properties, the first of each name; pictures are absolute."""
    page = read_page(
        b'<head><meta property="og:title" content=" A  title "><meta property="og:title" content="second">'
        b'<meta name="og:site_name" content="Site"><meta property="og:image" content="../pic.png">'
        b'<meta property="og:image:width" content="9"><meta property="og:empty" content="">'
        b'<meta property="og:image:alt" content="A picture">'
        b'<link rel="alternate" type="application/json+oembed" href="/oembed?x=1"></head>',
        "text/html",
        URL,
    )
    assert page["og"] == {"og:title": "A title", "og:site_name": "Site", "og:image:alt": "A picture"}
    assert page["image"] == "https://example.org/pic.png"
    assert page["oembed"] == "https://example.org/oembed?x=1"


def test_what_stands_in() -> None:
    """Without OpenGraph: Twitter's names, title, headings, description, what a reader sees of the text."""
    assert og("<title>T &amp; U</title><meta name=description content=D>") == {
        "og:title": "T & U",
        "og:description": "D",
    }
    assert og("<meta name='twitter:title' content=T><meta name='twitter:description' content=D>") == {
        "og:title": "T",
        "og:description": "D",
    }
    body = (
        "<h1>Head<b>line</b></h1><script>no()</script><style>no</style><noscript>no</noscript><nav>no</nav>"
        "<p>Some   text</p><div hidden>no</div><p>more</p>"
    )
    assert og(f"<body>{body}</body>") == {
        "og:title": "Headline",
        "og:description": "Head line Some text more",
    }


@pytest.mark.parametrize(
    ("html", "image", "shown"),
    [
        (
            "<meta itemprop=image content=a.png><link rel=image_src href=b.png><img src=c.png>",
            "a.png",
            "c.png",
        ),
        ("<link rel=image_src href=b.png><link rel=icon href=i.png>", "b.png", "i.png"),
        ("<img src=1.png width=10 height=10><img src=2.png width=20 height=10>", None, "2.png"),
        ("<img src=1.png><img src=2.png>", None, "1.png"),
        ("<img src=1.png width=9000><img src=2.png width=1 height=1>", None, "2.png"),
        ("<img src=1.png width=-5 height=-5><img src=2.png width='9e9' height=\u0665>", None, "1.png"),
        ("<img><img src='  '><link rel='shortcut icon' href=i.png>", None, "i.png"),
        ("<p>Text</p>", None, None),
        ("<img src=data:image/gif;base64,R0 width=9 height=9><img src=1.png>", None, "1.png"),
        ("<meta property=og:image content='DATA:image/png;base64,AA'><img src=1.png>", None, "1.png"),
        ("<meta property=og:image:url content=a.png>", "a.png", None),
        (
            "<meta property=og:image:secure_url content=s.png><meta property=og:image content=a.png>",
            "a.png",
            None,
        ),
    ],
)
def test_pictures(html: str, image: str | None, shown: str | None) -> None:
    """What the page names as its own; else its largest one, or its icon."""
    page = read_page(html.encode(), "text/html; charset=utf-8", "https://example.org/")
    found = [
        None if url is None else url.removeprefix("https://example.org/")
        for url in (page["image"], page["shown"])
    ]
    assert found == [image, shown]


def test_entities_once() -> None:
    """What was escaped twice is shown as it was meant to be shown."""
    assert og("<title>&amp;lt;b&amp;gt;</title>")["og:title"] == "&lt;b&gt;"


@pytest.mark.parametrize(
    ("data", "content_type", "expected"),
    [
        ("<title>日本</title>".encode("shift-jis"), 'text/html; charset="Shift_JIS"', "日本"),
        ("<meta charset=gbk><title>中文</title>".encode("gbk"), "text/html", "中文"),
        (
            '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251"><title>Ы</title>'.encode(
                "cp1251"
            ),
            "text/html",
            "Ы",
        ),
        (
            '<?xml version="1.0" encoding="iso-8859-2"?><title>Ł</title>'.encode("iso-8859-2"),
            "text/html",
            "Ł",
        ),
        ("<title>朱镕基</title>".encode("gbk"), "text/html; charset=gb2312", "朱镕基"),
        ("<title>①②</title>".encode("cp932"), "text/html; charset=shift_jis", "①②"),
        ("<title>똠방</title>".encode("cp949"), "text/html; charset=euc-kr", "똠방"),
        ("<title>“é”</title>".encode("cp1252"), "text/html; charset=iso-8859-1", "“é”"),
        (
            "<title>今日の天気は晴れのち曇り</title>é".encode()[:-1],
            "text/html; charset=utf-8",
            "今日の天気は晴れのち曇り",
        ),
        ("<title>é</title>".encode(), "text/html", "é"),
        ("<title>é</title>".encode(), "text/html; charset=ascii", "é"),
        ("<title>é</title>".encode("latin-1"), "text/html; charset=utf-8", "é"),
        ("<title>é</title>".encode("latin-1"), "text/html; charset=none-such", "é"),
        ("<title>é</title>".encode("utf-16"), "text/html; charset=utf-8", "é"),
        (b"\xef\xbb\xbf<title>\xc3\xa9</title>", "text/html; charset=latin-1", "é"),
        (b"<title>a\0b</title>", "text/html", "ab"),
    ],
)
def test_encodings(data: bytes, content_type: str, expected: str) -> None:
    """Byte order mark, header, the page's word, UTF-8, Windows: whichever fits first."""
    assert og(data, content_type)["og:title"] == expected


@pytest.mark.parametrize(
    "html",
    ["", " ", "\0", "<", "<!-- -->", "<html>", "a" * 1000, "<div>" * 50_000, "<a " + "x=y " * 50_000 + ">",
     "<meta property=og:title>", "<title></title>" * 10_000, "&" * 10_000, "<![CDATA[" * 1000],
)  # fmt: skip
def test_strange_pages(html: str) -> None:
    """Nothing, nesting without end, attributes without end: an answer all the same."""
    assert set(read_page(html.encode(), "text/html", URL)) == {"og", "image", "shown", "oembed"}


def test_long_values() -> None:
    """Values and their number are bounded; a description from the text ends at a word."""
    many = "".join(f'<meta property="og:x{n}" content="{"v" * 5000}">' for n in range(100))
    found = og(f"{many}<body>{'word ' * 500}</body>")
    assert len(found) <= 52
    assert max(map(len, found.values())) <= 1000
    assert found["og:description"].endswith("word…")
    assert 200 <= len(found["og:description"]) <= 501


def test_unknown_bytes() -> None:
    """Whatever the bytes, they become text."""
    assert decode(bytes(range(256)), "") != ""


def test_oembed() -> None:
    """The kinds of oEmbed; wrong types count as absent."""
    assert read_oembed(
        {
            "type": "rich",
            "author_name": "A",
            "provider_name": "P",
            "html": "<p>Hello <b>you</b></p><script>x</script>",
            "thumbnail_url": "https://x/y.png",
            "cache_age": "300",
        },
        URL,
    ) == {
        "og": {"og:title": "A", "og:site_name": "P", "og:description": "Hello you"},
        "image": "https://x/y.png",
        "oembed": None,
        "cache_age": 300,
    }
    photo = read_oembed({"type": "photo", "title": "T", "url": "/p.png"}, URL)
    assert (photo["og"], photo["image"]) == ({"og:title": "T"}, "https://example.org/p.png")
    bad = read_oembed({"type": 1, "title": [], "html": {}, "thumbnail_url": 7, "cache_age": "soon"}, URL)
    assert bad == {"og": {}, "image": None, "oembed": None, "cache_age": None}


def test_providers(tmp_path) -> None:
    """Built-in ones, and those of a file."""
    found = find_provider(DEFAULT_PROVIDERS, "https://www.youtube.com/watch?v=x&y=z")
    assert found is not None
    assert (
        found.url_for("https://a/?b")
        == "https://www.youtube.com/oembed?url=https%3A%2F%2Fa%2F%3Fb&format=json"
    )
    assert find_provider(DEFAULT_PROVIDERS, "https://example.org/") is None
    file = tmp_path / "providers.json"
    file.write_text('[{"endpoints": [{"schemes": ["http://a.test/*"], "url": "http://a.test/o.{format}"}]}]')
    (provider,) = load_providers([file])
    assert find_provider([provider], "https://a.test/x") is provider
    assert provider.endpoint == "http://a.test/o.json"
