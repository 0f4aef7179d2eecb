"""Values as the service writes them: exact decimals and times are text, and so neither loses a digit.

In Python they are ``Decimal`` and integer nanoseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

NS_PER_S = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC_3339 = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?Z")

T = TypeVar("T")


class TimeNs(int):
    """UTC time in nanoseconds since 1970; shows itself as RFC 3339 with nine fraction digits."""

    __slots__ = ()

    def __str__(self) -> str:
        return format_time(self)


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC with nine fraction digits: ``2026-07-23T15:39:43.854663000Z``."""
    seconds, fraction_ns = divmod(int(time_ns), NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{fraction_ns:09d}Z"


def parse_time(text: str) -> TimeNs:
    """Exact nanoseconds of a time that the service wrote; raises ``ValueError`` for anything else."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError(f"no RFC 3339 time in UTC: {text!r}")
    since = datetime.fromisoformat(f"{match[1]}+00:00") - _EPOCH
    return TimeNs((since.days * 86_400 + since.seconds) * NS_PER_S + int((match[2] or "").ljust(9, "0")))


class OpenEnum(StrEnum):
    """Words of the service. One that this version of the library does not know yet becomes a member of its own."""

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = member._value_ = value
        return member


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the service answers. Fields that this version of the library does not know are passed over."""


def decode(content: bytes | str, kind: type[T]) -> T:
    """A reply of type ``kind`` from JSON; raises ``msgspec.MsgspecError`` when it is none."""
    return msgspec.json.decode(content, type=kind, dec_hook=_read)


def convert(value: object, kind: type[T]) -> T:
    """The same from a decoded JSON value."""
    return msgspec.convert(value, kind, dec_hook=_read)


def encode(value: object) -> bytes:
    """JSON of a reply as the service would write it, for keeping or passing on; ``decode`` reads it again."""
    return msgspec.json.encode(value, enc_hook=_write)


def _write(value: Any) -> str:
    if isinstance(value, TimeNs):
        return format_time(value)
    raise NotImplementedError(type(value))


def _read(kind: type, value: Any) -> Any:
    if kind is TimeNs:
        return parse_time(value)
    raise NotImplementedError(kind)


def decimal_text(value: Decimal | int) -> str:
    """Plain digits without exponent.

    Raises:
        TypeError: for a float, which is not the number that was meant.
    """
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise TypeError(f"{value!r}: prices, quantities and seconds are Decimal or int")
    return format(Decimal(value), "f")


def optional_decimal_text(value: Decimal | int | None) -> str | None:
    """The same where there is a value."""
    return None if value is None else decimal_text(value)


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says: without the ``None``, for which the service has its defaults."""
    return {name: value for name, value in values.items() if value is not None}
