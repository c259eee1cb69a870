"""A headless Chromium, spoken to in the WebDriver protocol over HTTP."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.interop.installed import debian_packages
from tests.processes.harness import wait_until

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name of a reference to an element
_REQUEST_SECONDS = 300.0
_WAIT_SECONDS = 300.0
ESCAPE = "\ue00c"
ENTER = "\ue007"


def install() -> None:
    """Chromium and its driver, unless they are there. Raises RuntimeError where only an operator can."""
    debian_packages("chromium", "chromedriver", packages=("chromium", "chromium-driver"))


class WebDriverError(Exception):
    pass


class Browser:
    """One window. Elements are found by CSS selector; the first that matches counts."""

    def __init__(self) -> None:
        self._driver: subprocess.Popen[str] | None = None
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-")
        self._base = ""

    def __enter__(self) -> Self:
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                self._base = f"http://127.0.0.1:{found[1]}"
                break
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            f"--user-data-dir={self._profile.name}",
        ]
        options = {
            "goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": options}})
        self._base += f"/session/{session['sessionId']}"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._driver is not None
        try:
            self._call("DELETE", "", None)
        finally:
            self._driver.terminate()
            self._driver.wait(_REQUEST_SECONDS)
            if self._driver.stdout is not None:
                self._driver.stdout.close()
            self._profile.cleanup()

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def forget(self) -> None:
        """What a page keeps in the tab."""
        self.script("sessionStorage.clear(); localStorage.clear()")

    def script(self, body: str, *arguments: Any) -> Any:
        """The value that the body of a function returns."""
        return self._call("POST", "/execute/sync", {"script": body, "args": arguments})

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def look(self, *, width: int, height: int, scheme: str = "light") -> None:
        """The size of the view in CSS pixels, and whether the system is light or dark."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.command(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def text(self, selector: str) -> str:
        """As it is seen: "" for what is hidden or not there."""
        return self.script(
            "const n = document.querySelector(arguments[0]);"
            "return n && n.checkVisibility() ? n.innerText.trim() : ''",
            selector,
        )

    def texts(self, selector: str) -> list[str]:
        return self.script(
            "return [...document.querySelectorAll(arguments[0])]"
            ".filter((n) => n.checkVisibility()).map((n) => n.innerText.trim())",
            selector,
        )

    def wait_for(self, selector: str, words: str = "") -> str:
        """The text of an element that is seen and holds the words."""
        return wait_until(
            lambda: words in (text := self.text(selector)) and (text or self._is_seen(selector)),
            f"{words!r} in {selector}; it says {self.text(selector)!r}; log: {self.log()}",
            _WAIT_SECONDS,
        )

    def wait_gone(self, selector: str) -> None:
        wait_until(lambda: not self._is_seen(selector), f"{selector} is gone", _WAIT_SECONDS)

    def click(self, selector: str) -> None:
        """A click of the mouse: fails when something else is in the way."""
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def type(self, selector: str, keys: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/value", {"text": keys})

    def fill(self, selector: str, value: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/clear", {})
        self.type(selector, value)

    def press(self, key: str) -> None:
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def log(self) -> Sequence[dict[str, Any]]:
        """What the console got since the last call."""
        return self._call("POST", "/se/log", {"type": "browser"})

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._call("GET", "/screenshot", None)))

    def _is_seen(self, selector: str) -> bool:
        return self.script(
            "return Boolean(document.querySelector(arguments[0])?.checkVisibility())", selector
        )

    def _find(self, selector: str) -> str:
        def find() -> str | None:
            try:
                query = {"using": "css selector", "value": selector}
                return self._call("POST", "/element", query)[_ELEMENT]
            except WebDriverError:
                return None

        return wait_until(find, selector, _WAIT_SECONDS)

    def _call(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_REQUEST_SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                value = json.load(error)["value"]
            raise WebDriverError(f"{value['error']}: {value['message']}") from None
