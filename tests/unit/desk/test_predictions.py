"""A live market into a prediction: the side decides which side of the book is swept, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from models.predictors import ClosedFormPredictor
from rfq_service.desk.predictions import Forecaster
from rfq_service.domain.market import ClockSource, Level, MarketSnapshot, MarketStatistics
from rfq_service.domain.units import Side
from tests.unit.domain.builders import INVERSE, SPOT

FORECASTER = Forecaster(ClosedFormPredictor.load())
MEASURED = MarketStatistics(
    volatility_bps_sqrt_day=350.0,
    volume_per_day_notional=1_000_000.0,
    depth_notional=5_000.0,
    spread_bps=10.0,
    imbalance=0.1,
    observed_s=3_600.0,
)
# a deep bid; asks of 10 units each at 5, 15 and 25 bps from the mid of 100
MARKET = MarketSnapshot(
    instrument_id=SPOT.instrument_id,
    ts_event_ns=0,
    ts_init_ns=0,
    recorded_ts_ns=None,
    clock_source=ClockSource.EXCHANGE,
    source_count=1,
    sequence=1,
    bids=(Level(Decimal("99.95"), Decimal(1_000)),),
    asks=tuple(Level(Decimal(price), Decimal(10)) for price in ("100.05", "100.15", "100.25")),
    statistics=MEASURED,
)


def test_a_buyer_would_take_the_asks_and_a_seller_the_bids():
    buying, selling = (FORECASTER.predict(SPOT, MARKET, Decimal(30), side) for side in (Side.BUY, Side.SELL))
    assert buying.temporary_bps.max() == pytest.approx(10.0)  # 0, 10 and 20 bps behind the touch
    assert not selling.temporary_bps.any()
    assert np.array_equal(buying.permanent_bps, selling.permanent_bps)
    assert np.array_equal(buying.information_bps, selling.information_bps)


def test_the_book_of_an_inverse_contract_is_counted_in_contracts():
    prediction = FORECASTER.predict(INVERSE, MARKET, Decimal(20), Side.BUY)
    # half at the touch, half 10 bps behind it, in coins
    assert prediction.temporary_bps.max() == pytest.approx((100 / 100.05 - 100 / 100.15) / 2 * 1e4)
    assert prediction.notional == 2_000.0


@pytest.mark.parametrize("unseen", ["volatility_bps_sqrt_day", "volume_per_day_notional"])
@pytest.mark.parametrize("value", [None, 0.0])
def test_a_market_not_measured_yet_has_no_prediction(unseen, value):
    market = replace(MARKET, statistics=replace(MEASURED, **{unseen: value}))
    assert FORECASTER.predict(SPOT, market, Decimal(30), Side.BUY) is None
