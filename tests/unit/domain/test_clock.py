from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.domain.clock import SimClock, format_timestamp, parse_timestamp
from rfq_service.domain.errors import ErrorCode, RfqError
from tests.unit.domain.builders import attempt

END_NS = int(datetime(2201, 1, 1, tzinfo=UTC).timestamp()) * 10**9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.integers(0, END_NS - 1))
def test_round_trip_to_the_nanosecond(time_ns):
    text = format_timestamp(time_ns)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", text)
    assert parse_timestamp(text) == time_ns


@given(st.integers(0, END_NS - 1), st.integers(0, END_NS - 1))
def test_text_sorts_like_time(first_ns, second_ns):
    assert (format_timestamp(first_ns) < format_timestamp(second_ns)) == (first_ns < second_ns)


@given(
    st.datetimes(datetime(1970, 1, 3), datetime(2200, 12, 29)),  # noqa: DTZ001
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
    st.text("0123456789", max_size=9),
)
def test_offsets_and_fractions(moment, offset_minutes, fraction):
    aware = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset_minutes)))
    head = aware.strftime("%Y-%m-%dT%H:%M:%S")
    sign = "-" if offset_minutes < 0 else "+"
    offset = f"{sign}{abs(offset_minutes) // 60:02d}:{abs(offset_minutes) % 60:02d}"
    text = head + (f".{fraction}" if fraction else "") + offset
    whole_s = (aware - EPOCH) // timedelta(seconds=1)
    assert parse_timestamp(text) == whole_s * 10**9 + int((fraction + "0" * 9)[:9])


@pytest.mark.parametrize(
    "text, same_as",
    [
        ("2024-07-23t15:39:43.854663z", "2024-07-23T15:39:43.854663000Z"),
        ("2024-07-23T15:39:43-00:00", "2024-07-23T15:39:43.000000000Z"),
        ("2024-07-24T01:09:43.5+09:30", "2024-07-23T15:39:43.500000000Z"),
        ("1969-12-31T23:00:00-01:00", "1970-01-01T00:00:00.000000000Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000000Z"),
    ],
)
def test_accepted_spellings(text, same_as):
    assert format_timestamp(parse_timestamp(text)) == same_as


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-07-23",
        "2024-07-23T15:39:43",  # naive
        "2024-07-23T15:39:43.5",
        "2024-07-23 15:39:43Z",
        "2024-07-23T15:39Z",
        "2024-07-23T15:39:43.Z",
        "2024-07-23T15:39:43.1234567890Z",  # ten digits
        "2024-07-23T15:39:43,5Z",
        "2024-07-23T15:39:60Z",  # a leap second has no place in UTC nanoseconds
        "2024-07-23T24:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999999999Z",
        "2201-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",  # beyond datetime in UTC
        "0001-01-01T00:00:00+01:00",
        "2200-12-31T23:59:59-00:01",
        "2024-07-23T15:39:43+24:00",
        "2024-07-23T15:39:43+05:75",
        "2024-07-23T15:39:43+0100",
        "2024-07-23T15:39:43+01",
        "2024-07-23T15:39:43 01:00",
        "2024-07-23T15:39:43Zx",
        "2024-07-23T15:39:43Z\n",
        " 2024-07-23T15:39:43Z",
        "2024-W05-1T09:30:00Z",  # ISO 8601, not RFC 3339
        "2024-01-31T093000.1Z",
        "-024-07-23T15:39:43Z",
        "٢٠٢٤-07-23T15:39:43Z",  # digits, but not ASCII
        "2024-07-23T15:39:43.５Z",
        "2024-07-23T15:39:43\x00Z",
        "9" * 100_000,
    ],
)
def test_refused(text):
    with pytest.raises(RfqError) as raised:
        parse_timestamp(text, "from")
    assert (raised.value.code, raised.value.field) == (ErrorCode.INVALID_FIELD, "from")


@given(st.text(max_size=40) | st.text("0123456789-:.TZtz+ W", min_size=19, max_size=36))
def test_anything_else_is_an_error_with_its_field(text):
    time_ns, error = attempt(lambda: parse_timestamp(text, "to"))
    if error is None:
        assert 0 <= time_ns < END_NS
    else:
        assert (error.code, error.field) == (ErrorCode.INVALID_FIELD, "to")


def test_a_simulated_clock_moves_when_told():
    clock = SimClock(7)
    assert (clock.now_ns(), clock.monotonic_ns()) == (7, 7)
    clock.advance(3)
    assert (clock.now_ns(), clock.monotonic_ns()) == (10, 10)
