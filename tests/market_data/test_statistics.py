"""Statistics against markets whose true figures are known."""

from __future__ import annotations

import math
import random

import pytest

from rfq_service.domain.book import OrderBook
from rfq_service.domain.instrument import ContractType
from rfq_service.domain.units import NS_PER_S
from rfq_service.market_data.statistics import SILENCE_NS_MAX, StatisticsTracker
from tests.market_data.messages import instrument


class Market:
    """A one-tick market that a test moves at will."""

    def __init__(self, contract_type: ContractType = ContractType.LINEAR) -> None:
        self.tracker = StatisticsTracker(instrument(contract_type), 0.001)
        self.book = OrderBook()
        self.now_ns = 1_700_000_000 * NS_PER_S

    def move(self, after_s: float, bid: int, spread: int = 1, bid_units: int = 1000, ask_units: int = 1000) -> None:
        self.now_ns += round(after_s * NS_PER_S)
        grid_ns = self.tracker.next_grid_ns
        if grid_ns is not None and self.now_ns >= grid_ns:
            self.tracker.before_change(self.now_ns, self.book)
        self.book.apply_snapshot([(bid, bid_units)], [(bid + spread, ask_units)])
        self.tracker.after_change(self.now_ns, self.book)

    def result(self):
        return self.tracker.result(self.now_ns)


def test_volatility_of_a_random_walk_is_recovered():
    draws, market, price = random.Random(3), Market(), 1_000_000.0
    ticks_sqrt_s = 20.0
    for _ in range(20_000):
        price += draws.gauss(0.0, ticks_sqrt_s * math.sqrt(0.5))
        market.move(0.5, round(price))
    truth_bps = ticks_sqrt_s / 1_000_000 * 10_000 * math.sqrt(86_400)
    assert market.result().volatility_bps_sqrt_day == pytest.approx(truth_bps, rel=0.12)


def test_flicker_of_the_touch_is_mostly_ignored():
    draws, market = random.Random(5), Market()
    for _ in range(10_000):
        market.move(0.5, 1_000_000 + draws.choice((0, 10)))
    # flips between two prices 0.1 bps apart: one-second returns would claim sqrt(0.5) x 0.1 bps x sqrt(86,400)
    naive_bps = math.sqrt(0.5) * 0.1 * math.sqrt(86_400)
    assert market.result().volatility_bps_sqrt_day < naive_bps / 3


def test_nothing_is_claimed_before_a_minute():
    market = Market()
    market.move(0, 10_000)
    for _ in range(59):
        market.move(1.0, 10_000)
    early = market.result()
    assert early.volatility_bps_sqrt_day is None
    assert early.volume_per_day_notional is None
    assert early.observed_s == 59
    market.move(1.0, 10_000)
    market.move(1.0, 10_000)
    assert market.result().volatility_bps_sqrt_day == 0.0
    assert market.result().volume_per_day_notional == 0.0


@pytest.mark.parametrize("contract_type", list(ContractType))
def test_volume_is_scaled_to_a_day(contract_type):
    market = Market(contract_type)
    market.move(0, 10_000)
    for _ in range(600):
        market.move(1.0, 10_000)
        market.tracker.on_trade(market.now_ns, 10_000, 2_000)
    each = 2.0 if contract_type is ContractType.INVERSE else 2.0 * 100.0
    assert market.result().volume_per_day_notional == pytest.approx(each * 86_400, rel=0.01)


def test_volume_forgets_what_is_older_than_a_day():
    market = Market()
    market.tracker.on_trade(market.now_ns, 10_000, 1_000_000)
    market.now_ns += 25 * 3600 * NS_PER_S
    market.tracker.on_trade(market.now_ns, 10_000, 1_000)
    assert market.result().volume_per_day_notional == pytest.approx(100.0)


def test_spread_and_depth_are_weighted_by_time():
    market = Market()
    market.move(0, 10_000, spread=1)
    for _ in range(20):
        market.move(3.0, 10_000, spread=5, ask_units=3_000)
        market.move(1.0, 10_000, spread=1)
    result = market.result()
    # spread is 1 tick (1 bp) for 3 s, then 5 ticks for 1 s; a mean over changes would be 3 bps
    assert result.spread_bps == pytest.approx(2.0, rel=0.05)
    assert result.depth_notional == pytest.approx(100.0 * (0.75 * 1.0 + 0.25 * 2.0), rel=0.05)


def test_imbalance_is_a_mean_over_time_up_to_now():
    market = Market()
    market.move(0, 10_000, bid_units=3_000, ask_units=1_000)
    assert market.result().imbalance is None
    assert market.tracker.result(market.now_ns + NS_PER_S).imbalance == pytest.approx(0.5)
    # a flash of the opposite hardly counts
    market.move(5.0, 10_000, bid_units=1_000, ask_units=3_000)
    market.move(0.01, 10_000, bid_units=3_000, ask_units=1_000)
    assert market.result().imbalance == pytest.approx(0.5, abs=0.01)
    market.move(0.0, 10_000, bid_units=1_000, ask_units=3_000)
    assert market.tracker.result(market.now_ns + 60 * NS_PER_S).imbalance == pytest.approx(-0.5)


def test_no_return_spans_a_hole():
    market = Market()
    for _ in range(100):
        market.move(1.0, 10_000)
    market.tracker.pause()
    for _ in range(100):
        market.move(1.0, 20_000)
    market.move(SILENCE_NS_MAX / NS_PER_S + 2, 30_000)
    for _ in range(20):
        market.move(1.0, 30_000)
    assert market.result().volatility_bps_sqrt_day == 0.0
    assert market.result().observed_s < 250
