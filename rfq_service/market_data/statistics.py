"""Running statistics of one market, cheap enough to be kept on every message.

All times are event times of one feed, so a market replayed in seconds counts with its recorded length.
"""

from __future__ import annotations

import math
from collections import deque

from rfq_service.domain.book import OrderBook
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import MarketStatistics
from rfq_service.domain.units import BPS, NS_PER_S, S_PER_DAY

GRID_NS = NS_PER_S
RETURN_GRID_STEPS = 10
VOLATILITY_HALF_LIFE_S = 1_800.0
LIQUIDITY_HALF_LIFE_S = 300.0
IMBALANCE_TIME_CONSTANT_S = 2.0
OBSERVED_S_MIN = 60.0
DEPTH_LEVELS = 5
VOLUME_BUCKET_NS = 60 * NS_PER_S
VOLUME_BUCKETS_MAX = 1_440
# A silence longer than this says nothing about the market: it is left out, not filled with an unchanged book.
SILENCE_NS_MAX = 300 * NS_PER_S


class _DecayingMean:
    """Exponentially weighted mean with its start-up bias removed: early values are a plain mean."""

    __slots__ = ("_decay", "_total", "_weight")

    def __init__(self, half_life_steps: float) -> None:
        self._decay = 0.5 ** (1.0 / half_life_steps)
        self._total = 0.0
        self._weight = 0.0

    def add(self, value: float) -> None:
        self._total = self._total * self._decay + value
        self._weight = self._weight * self._decay + 1.0

    @property
    def value(self) -> float | None:
        return self._total / self._weight if self._weight else None


class TradedVolume:
    """Notional traded in the last 24 hours, in minute buckets, scaled to a day by the time observed."""

    __slots__ = ("_buckets", "_first_ns", "_last_ns", "_total")

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, float]] = deque()
        self._total = 0.0
        self._first_ns: int | None = None
        self._last_ns = 0

    def observe(self, at_ns: int) -> None:
        """Note that the stream is alive at ``at_ns``, so that quiet time counts too."""
        if self._first_ns is None:
            self._first_ns = at_ns
        self._last_ns = max(self._last_ns, at_ns)

    def add(self, at_ns: int, notional: float) -> None:
        """Count one trade."""
        self.observe(at_ns)
        bucket = at_ns // VOLUME_BUCKET_NS
        if self._buckets and self._buckets[-1][0] >= bucket:
            last, so_far = self._buckets[-1]
            self._buckets[-1] = (last, so_far + notional)
        else:
            self._buckets.append((bucket, notional))
        self._total += notional
        while self._buckets[0][0] <= bucket - VOLUME_BUCKETS_MAX:
            self._total -= self._buckets.popleft()[1]

    def per_day(self) -> float | None:
        """Notional per day, ``None`` before a minute has been observed."""
        observed_s = self._observed_s()
        return self._total / observed_s * S_PER_DAY if observed_s >= OBSERVED_S_MIN else None

    def _observed_s(self) -> float:
        if self._first_ns is None:
            return 0.0
        return min((self._last_ns - self._first_ns) / NS_PER_S, float(S_PER_DAY))


class StatisticsTracker:
    """Turns one book's history into ``MarketStatistics``.

    Volatility is the root mean square of overlapping 10 s mid returns sampled every second, scaled by the square root
    of time and weighted with a half-life of 30 minutes. Mids carry no bid-ask bounce of trades, and 10 s steps let the
    touch's flicker die out: on the recordings the figure moves by less than 10 % for any step from 5 s to 60 s.
    Spread and depth are sampled on the same one-second grid, which weights them by time. Touch imbalance is weighted
    by time with a time constant of 2 s and includes the time since the last change.
    """

    def __init__(self, instrument: Instrument, quantity_step: float) -> None:
        tick = float(instrument.tick_size)
        contract = float(instrument.multiplier) * quantity_step
        # linear notional is quantity × price × multiplier, inverse is quantity × multiplier
        self._notional_per_unit_tick = 0.0 if instrument.is_inverse else contract * tick
        self._notional_per_unit = contract if instrument.is_inverse else 0.0
        self._squared_return = _DecayingMean(VOLATILITY_HALF_LIFE_S)
        self._spread_bps = _DecayingMean(LIQUIDITY_HALF_LIFE_S)
        self._depth_notional = _DecayingMean(LIQUIDITY_HALF_LIFE_S)
        self._mids: deque[int] = deque(maxlen=RETURN_GRID_STEPS)
        self._volume = TradedVolume()
        self._imbalance_mean = 0.0
        self._imbalance_weight = 0.0
        self._imbalance = 0.0
        self._imbalance_at_ns: int | None = None
        self._observed_steps = 0
        self.next_grid_ns: int | None = None

    def notional(self, ticks: int, units: int) -> float:
        """Quote-currency notional of a quantity at a price."""
        return units * (self._notional_per_unit + self._notional_per_unit_tick * ticks)

    def on_trade(self, at_ns: int, ticks: int, units: int) -> float:
        """Count a trade; returns its notional."""
        notional = self.notional(ticks, units)
        self._volume.add(at_ns, notional)
        return notional

    def before_change(self, at_ns: int, book: OrderBook) -> None:
        """Sample the book at each grid second up to ``at_ns``, while it still is what it was during them."""
        self._volume.observe(at_ns)
        if self.next_grid_ns is None:
            return
        if at_ns - self.next_grid_ns > SILENCE_NS_MAX:
            self._restart(at_ns)
            return
        steps = (at_ns - self.next_grid_ns) // GRID_NS + 1
        self.next_grid_ns += steps * GRID_NS
        self._observed_steps += steps
        self._sample(steps, book)

    def after_change(self, at_ns: int, book: OrderBook) -> None:
        """Take over the new touch; starts the sampling when the book has just become usable."""
        _, bid_units, _, ask_units = book.touch()
        self._advance_imbalance(at_ns)
        self._imbalance = (bid_units - ask_units) / (bid_units + ask_units)
        if self.next_grid_ns is None:
            self._restart(at_ns)

    def pause(self) -> None:
        """The book is unusable: nothing is sampled until it is again, and no return spans the hole."""
        self.next_grid_ns = None
        self._imbalance_at_ns = None
        self._imbalance_weight = 0.0

    def result(self, now_ns: int) -> MarketStatistics:
        """What is known at ``now_ns`` (the feed's clock)."""
        squared = self._squared_return.value
        volatility = None
        if squared is not None and self._observed_steps >= OBSERVED_S_MIN:
            volatility = math.sqrt(squared * S_PER_DAY / RETURN_GRID_STEPS) * BPS
        return MarketStatistics(
            volatility_bps_sqrt_day=volatility,
            volume_per_day_notional=self._volume.per_day(),
            depth_notional=self._depth_notional.value,
            spread_bps=self._spread_bps.value,
            imbalance=self._imbalance_now(now_ns),
            observed_s=float(self._observed_steps),
        )

    def _restart(self, at_ns: int) -> None:
        self._mids.clear()
        self.next_grid_ns = (at_ns // GRID_NS + 1) * GRID_NS

    def _sample(self, steps: int, book: OrderBook) -> None:
        bid_ticks, _, ask_ticks, _ = book.touch()
        twice_mid = bid_ticks + ask_ticks
        spread_bps = 2.0 * BPS * (ask_ticks - bid_ticks) / twice_mid
        levels = book.top_bids(DEPTH_LEVELS) + book.top_asks(DEPTH_LEVELS)
        depth = 0.5 * sum(self.notional(ticks, units) for ticks, units in levels)
        mids = self._mids
        for _ in range(steps):
            self._spread_bps.add(spread_bps)
            self._depth_notional.add(depth)
            if len(mids) == RETURN_GRID_STEPS:
                self._squared_return.add((twice_mid / mids[0] - 1.0) ** 2)
            mids.append(twice_mid)

    def _advance_imbalance(self, at_ns: int) -> None:
        if self._imbalance_at_ns is not None:
            decay = math.exp((self._imbalance_at_ns - at_ns) / (IMBALANCE_TIME_CONSTANT_S * NS_PER_S))
            self._imbalance_mean = self._imbalance_mean * decay + self._imbalance * (1.0 - decay)
            self._imbalance_weight = self._imbalance_weight * decay + (1.0 - decay)
        else:
            self._imbalance_mean = 0.0
        self._imbalance_at_ns = at_ns

    def _imbalance_now(self, now_ns: int) -> float | None:
        if self._imbalance_at_ns is None:
            return None
        elapsed_ns = max(0, now_ns - self._imbalance_at_ns)
        decay = math.exp(-elapsed_ns / (IMBALANCE_TIME_CONSTANT_S * NS_PER_S))
        weight = self._imbalance_weight * decay + (1.0 - decay)
        # less than about a second of history is a photograph, not a mean
        if weight < 1.0 - math.exp(-1.0 / IMBALANCE_TIME_CONSTANT_S):
            return None
        return (self._imbalance_mean * decay + self._imbalance * (1.0 - decay)) / weight
