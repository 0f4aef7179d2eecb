"""Labels from a public recording: aggressive orders and the signed moves that follow them.

Times are exchange milliseconds. The reference of an order is the last book strictly before its millisecond, so that a
book that already shows the order's own effect is never its reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfq_service.domain.errors import require
from rfq_service.domain.units import BPS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BookPath:
    """Mid through time: ``time_ms`` (N,) ascending and ``mid`` (N,) in quote currency."""

    time_ms: Integers
    mid: Floats

    def mid_before(self, time_ms: Integers) -> Floats:
        """Mid of the last book strictly before each time."""
        index = np.searchsorted(self.time_ms, time_ms, "left") - 1
        require(bool(np.all(index >= 0)), "every time has a book before it")
        return self.mid[index]

    def mid_at(self, time_ms: Integers) -> Floats:
        """Mid of the last book at or before each time; NaN beyond the end of the recording."""
        value = self.mid[np.searchsorted(self.time_ms, time_ms, "right") - 1]
        return np.asarray(np.where(time_ms <= self.time_ms[-1], value, np.nan), np.float64)

    def mid_after(self, time_ms: Integers) -> Floats:
        """Mid of the first book strictly after each time; NaN where none follows."""
        index = np.searchsorted(self.time_ms, time_ms, "right")
        inside = index < len(self.mid)
        return np.asarray(np.where(inside, self.mid[np.minimum(index, len(self.mid) - 1)], np.nan), np.float64)


@dataclass(frozen=True, slots=True)
class AggressiveOrders:
    """Aggressive orders (all arrays (N,)): time, taker sign (+1 bought), notional (quote currency), average price."""

    time_ms: Integers
    sign: Floats
    notional: Floats
    price: Floats

    def __len__(self) -> int:
        return len(self.time_ms)

    def after(self, time_ms: int) -> AggressiveOrders:
        """Only the orders later than a time."""
        keep = self.time_ms > time_ms
        return AggressiveOrders(self.time_ms[keep], self.sign[keep], self.notional[keep], self.price[keep])


def aggressive_orders(time_ms: Integers, aggressor: Floats, price: Floats, notional: Floats) -> AggressiveOrders:
    """Join consecutive fills with one taker side and one exchange millisecond into one aggressive order.

    The order's price is the notional-weighted harmonic mean of its fills, that is its notional over its base quantity.
    """
    starts = np.flatnonzero(np.r_[True, (np.diff(time_ms) != 0) | (np.diff(aggressor) != 0)])
    total = np.add.reduceat(notional, starts)
    quantity = np.add.reduceat(notional / price, starts)
    return AggressiveOrders(time_ms[starts], aggressor[starts].astype(np.float64), total, total / quantity)


def effective_half_spread_bps(orders: AggressiveOrders, book: BookPath) -> Floats:
    """``s(p − m)/m`` in bps: what the order paid over the mid before it."""
    return orders.sign * (orders.price / book.mid_before(orders.time_ms) - 1.0) * BPS


def markout_bps(orders: AggressiveOrders, book: BookPath, horizon_s: float) -> Floats:
    """``M_h = s(m_{t+h} − m_t)`` in bps, (N,); NaN where the recording ends before t + h."""
    later = book.mid_at(orders.time_ms + round(horizon_s * 1000))
    return np.asarray(orders.sign * (later / book.mid_before(orders.time_ms) - 1.0) * BPS, np.float64)


def immediate_bps(orders: AggressiveOrders, book: BookPath) -> Floats:
    """Signed move to the first book after the order's millisecond, bps."""
    return orders.sign * (book.mid_after(orders.time_ms) / book.mid_before(orders.time_ms) - 1.0) * BPS


def size_deciles(notional: Floats) -> Integers:
    """Decile (0…9) of each order by notional. Orders of one size are ranked as they come, the earlier one lower.

    Sizes repeat, also at the boundaries; without a rule for ties the means of neighbouring deciles depend on the sort.
    """
    rank = np.empty(len(notional))
    rank[np.argsort(notional, kind="stable")] = np.arange(len(notional))
    edges = np.quantile(rank, np.arange(1, 10) / 10)
    return np.searchsorted(edges, rank, "left").astype(np.int64)


def random_signs(count: int, seed: int) -> Floats:
    """Fair random signs for the placebo row that every label table prints."""
    return np.asarray(np.random.default_rng(seed).integers(0, 2, count) * 2.0 - 1.0, np.float64)


def volatility_bps_sqrt_day(book: BookPath, step_s: float = 10.0) -> float:
    """Standard deviation of log-mid changes over ``step_s``, scaled to bps per square root of a day."""
    grid = np.arange(book.time_ms[0], book.time_ms[-1], round(step_s * 1000))
    changes = np.diff(np.log(book.mid_at(grid)))
    return float(np.std(changes) * BPS * np.sqrt(86_400.0 / step_s))


def time_weighted_mean(time_ms: Integers, values: Floats) -> float:
    """Mean of a step function that holds each value until the next time."""
    return float(np.average(values[:-1], weights=np.diff(time_ms)))
