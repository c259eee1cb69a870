"""The pages of user-interactive authentication in a real browser."""

from pathlib import Path
from typing import Any

from tests.interop.browser.webdriver import Browser, install
from tests.processes.harness import Server, wait_until

CLIENT = "/_matrix/client/v3"
ASK = """
const [path, token, body] = arguments;
const request = new XMLHttpRequest();
request.open("POST", path, false);
request.setRequestHeader("Authorization", `Bearer ${token}`);
request.send(JSON.stringify(body));
return JSON.parse(request.responseText);
"""
OPEN_PAGE = """
window.told = [];
window.addEventListener("message", (message) => window.told.push(message.data));
window.page = window.open(arguments[0]);
"""
SEND_FORM = """
const button = window.page.document.querySelector("form button");
if (button) button.click();
return Boolean(button);
"""


def test_a_page_tells_the_client_that_the_stage_is_done(tmp_path: Path) -> None:
    """Its policy lets the form be sent and its script run; the session has the stage then."""
    install()
    with Server(tmp_path) as server, Browser() as window:

        def ask(**body: Any) -> dict[str, Any]:
            path = f"{CLIENT}/account/password"
            answer: dict[str, Any] = window.script(ASK, path, server.admin_token, body)
            return answer

        window.open(f"{server.base_url}{CLIENT}/login")
        challenge = ask(new_password="another secret")
        assert challenge["completed"] == []
        session = challenge["session"]
        window.script(OPEN_PAGE, f"{CLIENT}/auth/m.login.dummy/fallback/web?session={session}")
        wait_until(lambda: window.script(SEND_FORM), "the form")
        wait_until(lambda: window.script("return window.told.includes('authDone')"), "authDone")
        again = ask(new_password="another secret", auth={"session": session})
        assert again["completed"] == ["m.login.dummy"]
