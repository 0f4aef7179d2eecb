from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.market import ClockSource, Level, MarketSnapshot, MarketStatistics
from tests.unit.domain.builders import ADMITTED_POSITIVE

UNKNOWN = MarketStatistics(None, None, None, None, None, 0.0)


def snapshot(bid: Decimal, ask: Decimal, ts_event_ns: int = 0, ts_init_ns: int = 0) -> MarketSnapshot:
    return MarketSnapshot(
        instrument_id=InstrumentId("V.SPOT.ABC"),
        ts_event_ns=ts_event_ns,
        ts_init_ns=ts_init_ns,
        recorded_ts_ns=None,
        clock_source=ClockSource.EXCHANGE,
        source_count=1,
        sequence=1,
        bids=(Level(bid, Decimal(1)), Level(bid / 2, Decimal(9))),
        asks=(Level(ask, Decimal(2)), Level(ask * 2, Decimal(9))),
        statistics=UNKNOWN,
    )


@given(ADMITTED_POSITIVE, ADMITTED_POSITIVE)
def test_the_mid_is_exact_and_plain(first, second):
    bid, ask = sorted((first, second))
    book = snapshot(bid, ask)
    assert (book.best_bid, book.best_ask) == (bid, ask)
    assert Fraction(book.mid) == (Fraction(bid) + Fraction(ask)) / 2


@given(st.integers(0, 10**19), st.integers(0, 10**19), st.integers(0, 10**19))
def test_age_counts_from_the_arrival_whatever_the_exchange_says(ts_event_ns, ts_init_ns, now_ns):
    book = snapshot(Decimal(1), Decimal(2), ts_event_ns, ts_init_ns)
    assert book.age_ns(now_ns) == max(0, now_ns - ts_init_ns)
