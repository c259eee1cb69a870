"""An option is there because something reads it, or it says that it changes nothing."""

import ast
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pydantic import BaseModel

import synapse_lite
from synapse_lite.config.database import DatabaseArgs
from synapse_lite.config.model import Config
from synapse_lite.config.options import NOT_MISSED, UNUSED
from synapse_lite.config.secret_files import _SECRETS
from synapse_lite.config.synapse_options import IGNORED

Option = tuple[str, str]
"""A section and the name of an option in it."""


def sections(model: type[BaseModel], found: dict[type[BaseModel], None]) -> dict[type[BaseModel], None]:
    """Those that can be reached through options that have an effect."""
    if model not in found:
        found[model] = None
        for name, field in model.model_fields.items():
            if name not in IGNORED:
                for below in models_in(field.annotation):
                    sections(below, found)
    return found


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


@cache
def names_read() -> frozenset[str]:
    """Every attribute that the program looks at, and the fields that validators check."""
    found: set[str] = set()
    for file in Path(synapse_lite.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "field_validator":
                found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return frozenset(found)


def unread(model: type[BaseModel], read: frozenset[str]) -> Iterator[Option]:
    secrets = {f"{path[-1]}_path" for path in _SECRETS}
    for name, field in model.model_fields.items():
        is_for_libpq = model is DatabaseArgs and not name.startswith("cp_")
        if (
            name in IGNORED
            or name in secrets
            or is_for_libpq
            or field.json_schema_extra in (UNUSED, NOT_MISSED)
        ):
            continue
        if name not in read:
            yield model.__name__, name


def test_every_option_is_read_or_says_that_it_changes_nothing() -> None:
    """One that is declared, documented and forgotten would be a promise that nobody keeps."""
    read = names_read()
    assert [option for model in sections(Config, {}) for option in unread(model, read)] == []


def test_no_option_that_has_its_effect_is_called_ignored() -> None:
    """Who is told that nothing comes of an option would look for another way to what it does already."""
    declared = {name for name in IGNORED if name in Config.model_fields}
    only_close_registration = {"enable_registration_captcha", "registrations_require_3pid"}
    assert declared & names_read() == only_close_registration


def test_a_forgotten_option_is_found() -> None:
    """The test above sees an option that no code looks at."""

    class Section(BaseModel):
        server_name: str = ""
        nobody_looks_at_this: int = 0

    assert list(unread(Section, names_read())) == [("Section", "nobody_looks_at_this")]
