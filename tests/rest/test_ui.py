"""The admin page as a browser gets it; what it does there is in tests/interop/browser."""

import re
from importlib import resources

import pytest

from synapse_lite.http.site import Site
from synapse_lite.rest.admin.ui import UiApi, read_files
from tests.http.memory import fetch, site

PATH = "/_synapse/admin/ui/"
NAMES = [file.name for file in read_files()]
TEXTS = {file.name: file.content.decode() for file in read_files()}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


@pytest.fixture
def page() -> Site:
    return site(UiApi().routes())


def test_all_files_of_the_package_are_served(page: Site) -> None:
    """Each by its name and with its type; the page itself also at the slash; nothing but these."""
    kinds = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    assert {"index.html", "app.js", "style.css"} <= set(NAMES)
    for name in NAMES:
        answer = fetch(page, "GET", PATH + name)
        assert answer.status == 200
        assert answer.headers["Content-Type"].partition(";")[0] == kinds[name.rpartition(".")[2]]
        assert answer.body.decode() == TEXTS[name]
    assert fetch(page, "GET", PATH).body.decode() == TEXTS["index.html"]
    installed = resources.files("synapse_lite.rest.admin").joinpath("ui").iterdir()
    assert sorted(entry.name for entry in installed) == NAMES


@pytest.mark.parametrize("name", ["", *NAMES])
def test_only_our_own_files_may_run(page: Site, name: str) -> None:
    """The policy of every answer allows nothing inline and nothing from elsewhere, in no frame."""
    for headers in ({}, {"If-None-Match": fetch(page, "GET", PATH + name).headers["ETag"]}):
        answer = fetch(page, "GET", PATH + name, headers=headers)
        rules = (rule.strip().split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split(";"))
        assert dict(rules) == POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"


def test_a_browser_asks_whether_it_has_this_version(page: Site) -> None:
    """What it has is confirmed without being sent again, what is older is not; files differ in their tags."""
    tags = {name: fetch(page, "GET", PATH + name).headers["ETag"] for name in NAMES}
    assert len(set(tags.values())) == len(NAMES)
    for name, tag in tags.items():
        known = fetch(page, "GET", PATH + name, headers={"If-None-Match": f'"old", {tag}'})
        assert (known.status, known.body, known.headers["ETag"]) == (304, b"", tag)
        assert known.headers["Cache-Control"] == "no-cache"
        assert fetch(page, "GET", PATH + name, headers={"If-None-Match": '"old"'}).status == 200


def test_without_the_slash_it_is_elsewhere(page: Site) -> None:
    """A relative redirect, which also holds behind a proxy that adds a prefix."""
    answer = fetch(page, "GET", PATH.rstrip("/"))
    assert (answer.status, answer.headers["Location"]) == (308, "ui/")


@pytest.mark.parametrize(
    "name", ["other.js", "..%2Fui.py", "../ui.py", "index.html/", "app.js/x", "%2e%2e/ui.py"]
)
def test_nothing_else_is_there(page: Site, name: str) -> None:
    """404 for other names, also for those that would lead out of the directory."""
    answer = fetch(page, "GET", PATH + name)
    assert (answer.status, answer.json()["errcode"]) == (404, "M_UNRECOGNIZED")


def test_the_page_is_only_read(page: Site) -> None:
    """HEAD has no body; POST is no method of it."""
    assert fetch(page, "POST", PATH).status == 405
    answer = fetch(page, "HEAD", PATH)
    assert (answer.status, answer.body) == (200, b"")


def test_the_page_has_no_inline_code_and_no_outside_address() -> None:
    """Scripts and styles are files of ours; no handler, style or address from elsewhere is in the markup."""
    html = TEXTS["index.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert re.findall(r"<script\b(.*?)>(.*?)</script>", html, re.DOTALL) == [
        (' type="module" src="app.js"', "")
    ]
    loaded = re.findall(r'\b(?:src|href|action)="([^"#]+)"', html)
    assert set(loaded) <= set(NAMES)
    for name, text in TEXTS.items():
        addresses = set(re.findall(r"https?://[^\s\"')]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
        assert "url(" not in text, name


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".js")])
def test_scripts_show_data_as_text(name: str) -> None:
    """Nothing that reads HTML or code from a string is used; every import is a file that is served."""
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|localStorage|cookie",
        TEXTS[name],
    )
    assert {path.removeprefix("./") for path in re.findall(r'from "([^"]+)"', TEXTS[name])} <= set(NAMES)
