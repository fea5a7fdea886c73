"""Rows become dataclasses by column name."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ColumnElement, FromClause, Row

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")


def columns_of(table: FromClause, record_type: type[DataclassInstance]) -> list[ColumnElement[Any]]:
    """The columns of `table` that are the fields of this dataclass."""
    return [table.c[field.name] for field in fields(record_type)]


def record_of(record_type: type[R], row: Row[Any]) -> R:
    """The row's columns are exactly the fields of `record_type`, in any order."""
    return record_type(**row._asdict())
