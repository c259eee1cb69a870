"""What every section of the configuration has in common."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo

UNUSED: dict[str, Any] = {"unused": True}
"""For `Field(json_schema_extra=...)`: the option is accepted, and changes nothing; who uses it is told at start."""

NOT_MISSED: dict[str, Any] = {"unused": "not missed"}
"""The same, but nobody is told."""


class Options(BaseModel):
    """A section. Keys that it does not know are kept, so that they can be listed at start."""

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """What is left empty is its default, unless null is a value of it; a section given in part has defaults for the rest."""
        if not isinstance(values, Mapping):
            return values
        complete = {}
        for name, value in values.items():
            field = cls.model_fields.get(name)
            default = field.default if field else None
            if value is None and field and not _may_be_null(field):
                continue
            if isinstance(value, Mapping) and isinstance(default, Options):
                complete[name] = {**default.model_dump(), **value}
            else:
                complete[name] = value
        return complete

    def undeclared(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Paths of the keys that no field declares, here and in the sections below, with their values."""
        for name, value in (self.model_extra or {}).items():
            yield f"{prefix}{name}", value
        for name in type(self).model_fields:
            for section in _sections(getattr(self, name)):
                yield from section.undeclared(f"{prefix}{name}.")

    def unused(self, prefix: str = "") -> Iterator[str]:
        """Paths of the options that change nothing, and are not at their default."""
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if field.json_schema_extra == UNUSED and value != field.default:
                yield f"{prefix}{name}"
            for section in _sections(value):
                yield from section.unused(f"{prefix}{name}.")


def asks_for_nothing(value: Any) -> bool:
    """An option that is empty or off, as sample files have many."""
    if isinstance(value, Mapping):
        return value.get("enabled") is False or all(asks_for_nothing(part) for part in value.values())
    return value is None or value is False or value in ("", [])


def _may_be_null(field: FieldInfo) -> bool:
    return field.default is None or type(None) in get_args(field.annotation)


def _sections(value: Any) -> Iterator[Options]:
    match value:
        case Options():
            yield value
        case tuple():
            yield from (item for item in value if isinstance(item, Options))
        case dict():
            yield from (item for item in value.values() if isinstance(item, Options))
