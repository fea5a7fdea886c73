"""Rows become dataclasses by column name."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any, ClassVar, Protocol, TypeVar

from sqlalchemy import ColumnElement, FromClause, Row


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


R = TypeVar("R", bound=Dataclass)


def columns_of(table: FromClause, record_type: type[Dataclass]) -> list[ColumnElement[Any]]:
    """The columns of `table` that are the fields of this dataclass."""
    return [table.c[field.name] for field in fields(record_type)]


def record_of(record_type: type[R], row: Row[Any]) -> R:
    """The row's columns are exactly the fields of `record_type`, in any order."""
    return record_type(**row._asdict())
