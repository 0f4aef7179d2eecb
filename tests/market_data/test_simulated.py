"""The generated market: repeatable, whole, and like the market it was measured on."""

from __future__ import annotations

import itertools
import json

import pytest

from rfq_service.domain.errors import InvariantError
from rfq_service.market_data.bars import summarise
from rfq_service.market_data.measure import describe, sample_market
from rfq_service.market_data.replay import replay
from rfq_service.market_data.simulated import PARAMETERS_PATH, SimulatedStream, simulated_recording

DAY_S = 86_400.0


def _stream(seed: int, length_s: float) -> SimulatedStream:
    (stream,) = simulated_recording(seed, length_s).streams
    assert isinstance(stream, SimulatedStream)
    return stream


def test_same_seed_gives_the_same_bytes():
    assert list(_stream(4, 600.0).messages()) == list(_stream(4, 600.0).messages())
    assert list(_stream(4, 600.0).messages()) != list(_stream(5, 600.0).messages())


def test_generated_market_is_whole():
    (report,) = replay([simulated_recording(seed=2, length_s=6 * 3600.0)])
    assert report.breaks == 0
    assert report.faults == {}
    assert report.trades > 1_000
    assert report.diffs > 10_000


def test_generated_market_resembles_the_measured_one():
    measured = json.loads(PARAMETERS_PATH.read_bytes())["measured"]["SIMULATED.SPOT.NEXOUSDT"]["recording"]
    # another seed than the one it was tuned with
    shown = describe(sample_market(_stream(77, DAY_S)))
    tolerance = {
        "volatility_bps_sqrt_day": 0.15,
        "volatility_60s_bps_sqrt_day": 0.20,
        "one_tick_share": 0.05,
        "mean_spread_ticks": 0.12,
        "orders_per_s": 0.05,
        "mean_order_units": 0.15,
        "sign_persistence": 0.05,
        "impact_ticks": 0.25,
        "diffs_per_s": 0.05,
        "touch_units": 0.25,
        "five_level_units": 0.10,
    }
    assert set(tolerance) == set(measured)
    for name, relative in tolerance.items():
        assert shown[name] == pytest.approx(measured[name], rel=relative), name


def test_a_simulated_instrument_says_so():
    stream = _stream(1, 1.0)
    assert stream.instrument.venue == "SIMULATED"
    with pytest.raises(InvariantError):
        _ = SimulatedStream("BINANCE.SPOT.NEXOUSDT", stream.parameters, 1).instrument


def test_bars_are_contiguous_and_count_every_trade():
    stream = _stream(9, 1_800.0)
    bars = list(summarise(stream))
    assert 30 <= len(bars) <= 31
    (report,) = replay([simulated_recording(9, 1_800.0)])
    assert sum(bar.trade_count for bar in bars) == report.trades
    for earlier, later in itertools.pairwise(bars):
        assert later.start_ns == earlier.start_ns + 60 * 10**9
        assert later.open_mid == earlier.close_mid
    for bar in bars:
        assert bar.low_mid <= min(bar.open_mid, bar.close_mid) <= max(bar.open_mid, bar.close_mid) <= bar.high_mid
        assert bar.snapshot is not None
        assert bar.snapshot.ts_event_ns <= bar.start_ns + 60 * 10**9
        assert bar.snapshot.mid == bar.close_mid
        assert bar.spread_bps > 0
        assert bar.depth_notional > 0
        assert (bar.trade_count == 0) == (bar.volume == 0)
