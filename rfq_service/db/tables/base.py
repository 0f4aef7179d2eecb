"""What every table shares: column types, constraint names and the checks that keep nonsense out.

Times are BIGINT UTC nanoseconds. Prices and quantities are NUMERIC without a scale, so nothing is rounded in silence;
as PostgreSQL's NUMERIC knows NaN and both infinities, every one of them has a check. Words of a closed set are text
with a check made from their ``StrEnum``. JSON columns hold canonical text, kept byte for byte: ``json``, not ``jsonb``.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, cast
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Double, LargeBinary, MetaData, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import UserDefinedType

from rfq_service.domain.errors import require

NAME_LENGTH_MAX = 100
WORD_LENGTH_MAX = 60
REFERENCE_LENGTH_MAX = 200


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id, which never wraps around."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name of the type."""
        return "xid8"


ischema_names["xid8"] = TransactionId  # SQLAlchemy would not know the type of a column that it finds


class Base(DeclarativeBase):
    """Base of all rows."""

    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        }
    )
    type_annotation_map: ClassVar = {
        bool: Boolean,
        bytes: LargeBinary,
        float: Double,
        int: BigInteger,
        str: Text,
        Decimal: Numeric,
        UUID: Uuid,
    }


def table_of(row: type[Base]) -> Table:
    """The Core table of a row class: queries are Core."""
    table = row.__table__
    require(isinstance(table, Table), "a row class maps one table")
    return cast("Table", table)


def positive(*columns: str) -> list[CheckConstraint]:
    """Greater than zero and finite; NaN sorts above infinity in PostgreSQL, so one bound refuses both."""
    return [CheckConstraint(f"{column} > 0 AND {column} < 'Infinity'", column) for column in columns]


def not_negative(*columns: str) -> list[CheckConstraint]:
    """Zero or more and finite."""
    return [CheckConstraint(f"{column} >= 0 AND {column} < 'Infinity'", column) for column in columns]


def finite(*columns: str) -> list[CheckConstraint]:
    """Any finite number."""
    return [CheckConstraint(f"{column} > '-Infinity' AND {column} < 'Infinity'", column) for column in columns]


def measured(*columns: str) -> list[CheckConstraint]:
    """Zero or more and finite, in floating point: a measurement, never money."""
    return [CheckConstraint(f"{column} >= 0 AND {column} < 'Infinity'", column) for column in columns]


def each_positive(*columns: str) -> list[CheckConstraint]:
    """Every element of an array is greater than zero and finite."""
    return [CheckConstraint(f"0 < ALL ({column}) AND 'Infinity' > ALL ({column})", column) for column in columns]


def times(*columns: str) -> list[CheckConstraint]:
    """A time after 1970."""
    return [CheckConstraint(f"{column} > 0", column) for column in columns]


def word_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    """One of a closed set of words."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(word.value) for word in words)})", column)


def length(column: str, longest: int, shortest: int = 1) -> CheckConstraint:
    """Bounded text."""
    return CheckConstraint(f"char_length({column}) BETWEEN {shortest} AND {longest}", column)
