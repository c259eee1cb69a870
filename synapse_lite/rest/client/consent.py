"""The page on which users read the terms and agree to them. Its text is the operator's."""

import re
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, TemplateError, TemplateNotFound

from synapse_lite.config.consent import UserConsent
from synapse_lite.errors import ConfigError, Errcode, MatrixError, bad_json, missing_param, not_found
from synapse_lite.handlers.consent import Consent
from synapse_lite.handlers.terms import LANGUAGE
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import CREDENTIALS_BODY, Route

PATH = "/_matrix/consent"
HTML = "text/html; charset=utf-8"
MAX_FIELDS = 10
MAX_TEXT = 512
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def pages(options: UserConsent) -> Environment:
    """`ConfigError` when one of the pages that will be shown is not there, or no template."""
    directory = options.template_dir / LANGUAGE
    environment = Environment(loader=FileSystemLoader(directory), autoescape=True)
    for name in (options.version, "success"):
        try:
            environment.get_template(f"{name}.html")
        except TemplateError as error:
            raise ConfigError(f"user_consent.template_dir: {directory / name}.html: {error}") from error
    return environment


class ConsentApi:
    """`pages` finds `<version>.html` and `success.html`."""

    def __init__(self, consent: Consent, pages: Environment) -> None:
        self._consent = consent
        self._pages = pages

    def routes(self) -> list[Route]:
        return [
            Route("GET", PATH, self.show, Access.NONE),
            Route("POST", PATH, self.agree, Access.NONE, max_body=CREDENTIALS_BODY),
        ]

    async def show(self, request: Request) -> Response:
        """`GET /_matrix/consent`: to anybody, or with `u` and `h` to a user, with a form."""
        terms = self._consent.terms
        version = request.query("v", terms.options.version)
        user_id, signature = request.query("u"), request.query("h")
        if user_id is None:
            return self._page(version, public_version=True, version=version, has_consented=False)
        if signature is None:
            raise missing_param("h")
        terms.check_signature(user_id, signature)
        return self._page(
            version,
            public_version=False,
            user=user_id,
            userhmac=signature,
            version=version,
            has_consented=await self._consent.has_agreed(user_id),
        )

    async def agree(self, request: Request) -> Response:
        """`POST /_matrix/consent`: the form of the page, with `u`, `h` and `v`."""
        user_id, signature, version = _fields(request.body, "u", "h", "v")
        self._consent.terms.check_signature(user_id, signature)
        await self._consent.agree(user_id, version)
        return self._page("success")

    def _page(self, name: str, **values: str | bool) -> Response:
        """404 for a version that has none."""
        if not _NAME.fullmatch(name):
            raise not_found("Unknown version")
        try:
            page = self._pages.get_template(f"{name}.html").render(**values)
        except TemplateNotFound:
            raise not_found("Unknown version") from None
        except TemplateError as error:
            raise MatrixError(500, Errcode.UNKNOWN, "The page of the terms is broken") from error
        return Response(200, page.encode(), _HEADERS, HTML)


def _fields(body: bytes, *names: str) -> list[str]:
    """400 for what is no form, or lacks one of the fields."""
    try:
        fields = parse_qs(body.decode(), max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise bad_json("Content must be a form, URL-encoded") from None
    for name in names:
        value = fields.get(name, [""])[0]
        if not value:
            raise missing_param(name)
        if len(value) > MAX_TEXT or "\0" in value:
            raise bad_json(f"Invalid {name!r}")
    return [fields[name][0] for name in names]
