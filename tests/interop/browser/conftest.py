"""The browser, and the admin page in it before a server that the test plays."""

from collections.abc import Iterator

import pytest

from tests.interop.browser.admin_page import sign_in
from tests.interop.browser.stage import Stage
from tests.interop.browser.webdriver import Browser, install


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    install()
    with Browser() as browser:
        yield browser


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.fixture
def browser(window: Browser, stage: Stage) -> Iterator[Browser]:
    """A fresh tab on the page; at the end the policy was not violated and no script has failed."""
    window.look(width=1280, height=900)
    window.open(stage.url)
    window.forget()
    window.open(stage.url)
    window.wait_for("#sign-in")
    window.log()
    yield window
    faults = [entry for entry in window.log() if "Failed to load resource" not in entry["message"]]
    window.open("about:blank")
    assert not faults


@pytest.fixture
def signed_in(browser: Browser) -> Browser:
    sign_in(browser)
    return browser
