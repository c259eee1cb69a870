"""Pages on which stages of user-interactive authentication are done, for clients that do not know them.

Client-server API, "Fallback": the client opens the page, is told by it when the stage is done, and sends its request
again with the session.
"""

from base64 import b64encode
from hashlib import sha256
from html import escape
from urllib.parse import parse_qs

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import MatrixError, bad_json
from synapse_lite.handlers.uia import DUMMY, MAX_TEXT, REGISTRATION_TOKEN, TERMS, InteractiveAuth
from synapse_lite.http.access import Access
from synapse_lite.http.ratelimit import RateLimiter, network_of
from synapse_lite.http.request import REQUIRED, Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import CREDENTIALS_BODY, Route, client_routes

PATH = "/auth/{stage}/fallback/web"
HTML = "text/html; charset=utf-8"
MAX_FIELDS = 10

STYLE = "body{font:16px sans-serif;max-width:28em;margin:3em auto;padding:0 1em}input,button{font:inherit;padding:.4em}"
TELL_CLIENT = (
    "if(window.onAuthDone){window.onAuthDone()}"
    'else if(window.opener&&window.opener.postMessage){window.opener.postMessage("authDone","*")}'
)

FORMS = {
    DUMMY: "<p>Nothing is asked for here.</p>",
    REGISTRATION_TOKEN: (
        '<p><label for="token">Registration token</label></p>'
        f'<p><input id="token" name="token" maxlength="{MAX_TEXT}" autocomplete="off" required autofocus></p>'
    ),
}


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


# No Cross-Origin-Opener-Policy: the page tells the window that opened it.
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hash(TELL_CLIENT)}; style-src {_hash(STYLE)}; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class AuthFallbackApi:
    """`token_limiter`: questions whether a registration token is good, per address."""

    def __init__(self, auth: InteractiveAuth, token_limiter: RateLimiter) -> None:
        self._auth = auth
        self._token_limiter = token_limiter

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", PATH, self.show, Access.NONE),
            *client_routes("POST", PATH, self.complete, Access.NONE, max_body=CREDENTIALS_BODY),
        ]

    async def show(self, request: Request, *, stage: str) -> Response:
        """`GET /_matrix/client/v3/auth/{stageType}/fallback/web`"""
        await self._auth.check_page(stage, request.query("session", REQUIRED))
        return self._form(200, stage)

    async def complete(self, request: Request, *, stage: str) -> Response:
        """`POST /_matrix/client/v3/auth/{stageType}/fallback/web`: the form of the page."""
        session_id, token = request.query("session", REQUIRED), _token(request.body)
        if stage == REGISTRATION_TOKEN:
            await self._token_limiter.check(network_of(request.client_ip))
        failure = await self._auth.complete(stage, session_id, token)
        if failure is not None:
            return self._form(failure.status, stage, failure)
        return _page(200, f"<p>Thank you. You may close this window.</p><script>{TELL_CLIENT}</script>")

    def _form(self, status: int, stage: str, failure: MatrixError | None = None) -> Response:
        message = f'<p role="alert">{escape(failure.message)}</p>' if failure else ""
        fields = _terms(self._auth.policies or {}) if stage == TERMS else FORMS[stage]
        button = "Agree" if stage == TERMS else "Continue"
        return _page(status, f'{message}<form method="post">{fields}<p><button>{button}</button></p></form>')


def _terms(policies: JsonObject) -> str:
    """Links to the texts that the user agrees to."""
    links = [
        f'<li><a href="{escape(text["url"])}" target="_blank" rel="noopener">{escape(text["name"])}</a></li>'
        for policy in policies["policies"].values()
        for text in policy.values()
        if isinstance(text, dict)
    ]
    return f"<p>Please read and agree to:</p><ul>{''.join(links)}</ul>"


def _token(body: bytes) -> str | None:
    """The field of that name; 400 `M_BAD_JSON` for what is no form."""
    try:
        fields = parse_qs(body.decode(), max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise bad_json("Content must be a form, URL-encoded") from None
    token = fields.get("token", [None])[0]
    if token is not None and (len(token) > MAX_TEXT or "\0" in token):
        raise bad_json("Invalid 'token'")
    return token


def _page(status: int, content: str) -> Response:
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Authentication</title>'
        f"<style>{STYLE}</style></head><body><h1>Authentication</h1>{content}</body></html>"
    )
    return Response(status, page.encode(), _HEADERS, HTML)
