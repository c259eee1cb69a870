"""What of the Matrix APIs and Synapse's admin API is there: counted from the routes. `make status` writes it down."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen
from twisted.internet import reactor

import tests
from synapse_lite.config.model import Config
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.workers.core import build_core
from synapse_lite.workers.features import build_features
from synapse_lite.workers.infrastructure import build_infrastructure

_ROOT = Path(tests.__file__).parent.parent
OPERATIONS = _ROOT / "docs" / "operations.txt"
STATUS = _ROOT / "docs" / "status.md"
README = _ROOT / "README.md"
_BEGIN, _END = "<!-- made by `make status` -->\n", "<!-- end of status -->\n"


@frozen
class Area:
    """`name` begins with the API that it is a part of."""

    name: str
    there: Sequence[str]
    missing: Sequence[str]

    @property
    def api(self) -> str:
        return self.name.partition(":")[0]

    @property
    def topic(self) -> str:
        return self.name.partition(": ")[2]


def operations(text: str) -> dict[str, list[str]]:
    """`METHOD path` by area."""
    areas: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("## "):
            areas[line.removeprefix("## ")] = []
        elif line and not line.startswith("#"):
            areas[list(areas)[-1]].append(line)
    return areas


def served() -> set[str]:
    """`METHOD path` of every route, with variables without names. With everything turned on that has an option."""
    config = Config.model_validate(
        {
            "server_name": "hs.test",
            "public_baseurl": "https://hs.test",
            "serve_server_wellknown": True,
            "login_via_existing_session": {"enabled": True},
            "database": {"name": "psycopg2", "args": {}},
        }
    )
    core = build_core(
        build_infrastructure(reactor, config), config, generate_signing_key("hs.test"), follows=True
    )
    return {
        normal(f"{route.method} {route.pattern}")
        for feature in build_features(core)
        for route in feature.routes
    }


def normal(operation: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", operation)


def areas(wanted: Mapping[str, Sequence[str]], found: set[str]) -> list[Area]:
    return [
        Area(
            name,
            [line for line in lines if normal(line) in found],
            [line for line in lines if normal(line) not in found],
        )
        for name, lines in wanted.items()
    ]


def table(found: Sequence[Area]) -> str:
    """The short form, for the README: one row for each API."""
    lines = ["| | Works | In part | Not yet |", "|---|---|---|---|"]
    for api in dict.fromkeys(area.api for area in found):
        of_api = [area for area in found if area.api == api]
        there = sum(len(area.there) for area in of_api)
        total = there + sum(len(area.missing) for area in of_api)
        whole = [area.topic for area in of_api if not area.missing]
        part = [area.topic for area in of_api if area.missing and area.there]
        none = [area.topic for area in of_api if not area.there]
        words = [", ".join(topics) or "-" for topics in (whole, part, none)]
        lines.append(f"| **{api}**: {there} of {total} | {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def page(found: Sequence[Area]) -> str:
    """The long form: what is missing, by name."""
    lines = [
        "# Status",
        "",
        "Operations of the Matrix specification (v1.19) and of Synapse's admin API that have a route here, by area.",
        "`make status` writes this page from the routes and `docs/operations.txt`; a test compares.",
        "",
        "| Area | There | Missing |",
        "|---|---|---|",
    ]
    for area in found:
        missing = "<br>".join(f"`{operation}`" for operation in area.missing)
        lines.append(
            f"| {area.name} | {len(area.there)} of {len(area.there) + len(area.missing)} | {missing} |"
        )
    return "\n".join(lines) + "\n"


def with_table(readme: str, status: str) -> str:
    before, _, rest = readme.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{status}{_END}{after}"


def measure() -> list[Area]:
    return areas(operations(OPERATIONS.read_text()), served())


if __name__ == "__main__":
    measured = measure()
    STATUS.write_text(page(measured))
    README.write_text(with_table(README.read_text(), table(measured)))
