"""Time comes in as an argument or through this protocol; nothing in the core reads a clock by itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.units import NS_PER_S

_TIMESTAMP_FRACTION_DIGITS = 9
_EPOCH_ORDINAL = datetime(1970, 1, 1, tzinfo=UTC).toordinal()
# Stricter than datetime.fromisoformat, which also takes week dates, offset minutes above 59 and a second fraction.
_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-5][0-9])"
)


class Clock(Protocol):
    """Two clocks: one to record with, one to measure with (PITFALLS: wall clocks jump)."""

    def now_ns(self) -> int:
        """UTC wall time in nanoseconds: for records only."""

    def monotonic_ns(self) -> int:
        """Monotonic nanoseconds: for durations and deadlines."""


class SimClock:
    """A clock that moves only when told to; both readings advance together."""

    def __init__(self, start_ns: int) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """UTC wall time in nanoseconds."""
        return self._now_ns

    def monotonic_ns(self) -> int:
        """The same instant, as a monotonic reading."""
        return self._now_ns

    def advance(self, by_ns: int) -> None:
        """Move forward by ``by_ns`` nanoseconds."""
        self._now_ns += by_ns


@lru_cache(maxsize=1024)
def format_timestamp(time_ns: int) -> str:
    """RFC 3339 in UTC with nine fraction digits: ``2024-07-23T15:39:43.854663000Z``."""
    seconds, fraction_ns = divmod(time_ns, NS_PER_S)
    return f"{_format_second(seconds)}.{fraction_ns:09d}Z"


@lru_cache(maxsize=1024)
def _format_second(seconds: int) -> str:
    # the times of one reply, if not the same, lie within seconds of each other, and this is the slow part
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}"


def parse_timestamp(text: str, field: str = "") -> int:
    """UTC nanoseconds of an RFC 3339 time with an offset and at most nine fraction digits.

    Raises:
        RfqError: ``INVALID_FIELD`` for anything else, naive times and years outside 1970…2200 included.
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise _timestamp_error(field)
    head, fraction, offset = match.groups(default="")
    try:
        utc = datetime.fromisoformat(head + ("+00:00" if offset in ("Z", "z") else offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _timestamp_error(field) from None
    if not 1970 <= utc.year <= 2200:
        raise _timestamp_error(field)
    days = utc.toordinal() - _EPOCH_ORDINAL
    seconds = ((days * 24 + utc.hour) * 60 + utc.minute) * 60 + utc.second
    return seconds * NS_PER_S + int(fraction.ljust(_TIMESTAMP_FRACTION_DIGITS, "0") or "0")


def _timestamp_error(field: str) -> RfqError:
    return RfqError(
        ErrorCode.INVALID_FIELD, "must be an RFC 3339 time with an offset, as 2026-01-31T09:30:00.000000000Z", field
    )
