from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.client.schemas.enums import RfqState
from rfq_service.client.schemas.rfq import Leg
from rfq_service.client.values import TimeNs, decimal_text, decode, encode, format_time, parse_time
from rfq_service.domain.clock import format_timestamp, parse_timestamp

TIMES = st.integers(0, 7_258_118_399_999_999_999)  # to the end of 2199


@given(TIMES)
def test_times_are_exact_and_the_services_own(time_ns):
    text = format_time(time_ns)
    assert text == format_timestamp(time_ns) == str(TimeNs(time_ns))
    assert parse_time(text) == parse_timestamp(text) == time_ns


@pytest.mark.parametrize("text", ["2026-01-31", "2026-01-31T09:30:00", "2026-01-31T09:30:00+01:00", "now", ""])
def test_what_is_no_time_of_the_service_is_refused(text):
    with pytest.raises(ValueError, match=r"RFC 3339|isoformat"):
        parse_time(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**17), max_value=10**17))
def test_decimals_are_written_plainly_and_without_loss(value):
    text = decimal_text(value)
    assert Decimal(text) == value
    assert "E" not in text.upper()


def test_decimals_with_exponents_are_written_plainly():
    assert [decimal_text(value) for value in (Decimal("1E+3"), Decimal("1E-9"), 7)] == ["1000", "0.000000001", "7"]


def test_words_of_a_newer_service_are_taken_as_they_are():
    state = RfqState("hibernating")
    assert state == "hibernating"
    assert state not in set(RfqState)
    assert RfqState("open") is RfqState.OPEN


def test_replies_can_be_kept():
    leg = Leg("X", ratio=Decimal("2.50"))
    assert encode(leg) == b'{"instrument_id":"X","side":"buy","ratio":"2.50"}'
    assert decode(encode(leg), Leg) == leg
