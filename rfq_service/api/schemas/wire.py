"""How single values look on the wire: exact decimals and times are text, figures in bps are numbers.

Incoming decimals, durations and times are declared as text and read by the functions here, not by msgspec, so that each
way of being wrong has its own error code.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeVar

import msgspec

from rfq_service.domain.errors import ErrorCode, RfqError, require
from rfq_service.domain.units import NS_PER_S, check_decimal

DECIMAL_PATTERN = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?$"
DURATION_PATTERN = r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?$"
TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z$"

_DECIMAL = re.compile(DECIMAL_PATTERN.strip("^$"))
_DURATION = re.compile(DURATION_PATTERN.strip("^$"))
_DECIMAL_TEXT_MAX = 64
_PLAIN_DECIMAL = 'must be a decimal in a JSON string, as "1234.5"'


def _text(description: str, pattern: str, example: str) -> msgspec.Meta:
    # The pattern is documented here and enforced below: msgspec's own refusal could not tell NaN from a bad digit.
    return msgspec.Meta(description=description, extra_json_schema={"pattern": pattern, "examples": [example]})


DecimalText = Annotated[
    str, _text("Exact decimal, at most 18 digits before and after the point.", DECIMAL_PATTERN, "1.234")
]
DurationText = Annotated[str, _text("Seconds as an exact decimal, to the nanosecond.", DURATION_PATTERN, "30")]
TimeText = Annotated[
    str, _text("UTC, RFC 3339 with nine fraction digits.", TIME_PATTERN, "2024-08-08T13:00:00.000000000Z")
]
TimeInText = Annotated[
    str,
    msgspec.Meta(
        description="RFC 3339 with an offset and at most nine fraction digits.",
        extra_json_schema={"format": "date-time", "examples": ["2024-08-08T13:00:00Z"]},
    ),
]
NameText = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
ReferenceText = Annotated[str, msgspec.Meta(max_length=128, description="The client's own reference; stored as it is.")]
InstrumentText = Annotated[str, msgspec.Meta(min_length=1, max_length=64, examples=["BINANCE.SPOT.NEXOUSDT"])]
CursorText = Annotated[str, msgspec.Meta(description="Opaque; next_cursor of one page is cursor of the next.")]
PageLimit = Annotated[
    int, msgspec.Meta(ge=1, le=10_000, description="Longest page; the service allows 200 unless configured otherwise.")
]
Bps = Annotated[float, msgspec.Meta(description="Basis points of the reference mid.")]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class WireIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request: a field that we do not know is an error, not a wish."""


class WireOut(msgspec.Struct, frozen=True):
    """A reply."""


T = TypeVar("T", bound=WireOut)


def decimal_of(text: str, field: str) -> Decimal:
    """Read an exact decimal.

    Raises:
        RfqError: ``NOT_FINITE``, ``OUT_OF_RANGE`` (more than 18 digits on either side of the point) or
            ``INVALID_FIELD`` for exponents, leading zeros, spaces and whatever is not a number.
    """
    if _DECIMAL.fullmatch(text):
        return Decimal(text)
    if len(text) > _DECIMAL_TEXT_MAX:
        raise RfqError(ErrorCode.OUT_OF_RANGE, "at most 18 digits before and after the point", field)
    try:
        check_decimal(Decimal(text), field)
    except InvalidOperation:
        raise RfqError(ErrorCode.INVALID_FIELD, _PLAIN_DECIMAL, field) from None
    raise RfqError(ErrorCode.INVALID_FIELD, f"{_PLAIN_DECIMAL}, without exponent, sign + or leading zeros", field)


def optional_decimal_of(text: str | None, field: str) -> Decimal | None:
    """Read an exact decimal where there is one; raises like ``decimal_of``."""
    return None if text is None else decimal_of(text, field)


@functools.lru_cache(maxsize=256)
def optional_duration_ns(text: str | None, field: str) -> int | None:
    """Nanoseconds of a duration in seconds where there is one.

    Raises:
        RfqError: ``NOT_FINITE``, ``OUT_OF_RANGE`` or ``INVALID_FIELD``.
    """
    if text is None:
        return None
    if _DURATION.fullmatch(text):
        return int(Decimal(text) * NS_PER_S)
    if decimal_of(text, field) >= 0:
        raise RfqError(ErrorCode.OUT_OF_RANGE, "at most 9 digits before and after the point", field)
    raise RfqError(ErrorCode.OUT_OF_RANGE, "must not be negative", field)


def decimal_text(value: Decimal) -> str:
    """Plain digits, never an exponent."""
    return format(value, "f")


def optional_decimal_text(value: Decimal | None) -> str | None:
    """Plain digits where there is a value."""
    return None if value is None else format(value, "f")


def finite(value: float) -> float:
    """The number itself; JSON knows no NaN, and ``null`` for one would be a lie."""
    require(math.isfinite(value), "a number in a reply is finite")
    return value


def optional_finite(value: float | None) -> float | None:
    """The number itself where there is one."""
    return None if value is None else finite(value)


def micro(value: int | None) -> float | None:
    """A fixed-point 1e-6 result (bps or probability) as a JSON number."""
    return None if value is None else value / 1_000_000


def decimals_of(texts: Sequence[str], field: str) -> tuple[Decimal, ...]:
    """Read a list of exact decimals; raises like ``decimal_of``, with the index in the path."""
    return tuple(decimal_of(text, f"{field}[{index}]") for index, text in enumerate(texts))


def documented_as(name: str, description: str) -> Any:
    """Type of a field that is served as the JSON text it is stored as; ``name`` is its schema."""
    schema = {"$ref": f"#/components/schemas/{name}"}
    return Annotated[msgspec.Raw, msgspec.Meta(description=description, extra_json_schema=schema)]
