"""Square-root prefactor from metaorders rebuilt from the public tape (Maitrier, Loeper, Bouchaud 2025).

The tape does not say who traded. Each aggressive order is given at random to one of a few synthetic traders; a run of
one trader's orders with one sign is a metaorder. That paper finds the impact of such metaorders to follow the
square-root law as real ones do. The number of traders is a choice, so several are tried and their spread is reported.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.labels import AggressiveOrders, BookPath
from rfq_service.domain.units import BPS

Floats = NDArray[np.float64]


def synthetic_metaorders(
    orders: AggressiveOrders, book: BookPath, traders: int, generator: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Return start time (ms), notional and signed peak impact (bps) of every metaorder of two orders or more."""
    owner = generator.integers(0, traders, len(orders))
    before, after = book.mid_before(orders.time_ms), book.mid_after(orders.time_ms)
    starts_ms, notionals, impacts = [], [], []
    for trader in range(traders):
        mine = np.flatnonzero(owner == trader)
        first = np.flatnonzero(np.r_[True, np.diff(orders.sign[mine]) != 0])
        last = np.r_[first[1:], len(mine)] - 1
        several = last > first
        head, tail = mine[first], mine[last]
        impact = orders.sign[head] * np.log(after[tail] / before[head]) * BPS
        keep = several & np.isfinite(impact)
        starts_ms.append(orders.time_ms[head][keep].astype(np.float64))
        notionals.append(np.add.reduceat(orders.notional[mine], first)[keep])
        impacts.append(impact[keep])
    return np.concatenate(starts_ms), np.concatenate(notionals), np.concatenate(impacts)


def square_root_prefactor(
    notional: Floats, impact_bps: Floats, volatility_bps: float, volume_per_day: float, exponent: float
) -> float:
    """Y in ``impact = Y·σ·(Q/V)^δ`` by least squares, each metaorder weighted by 1/Q (impact variance grows with Q)."""
    shape = volatility_bps * (notional / volume_per_day) ** exponent
    return float(np.sum(shape * impact_bps / notional) / np.sum(shape**2 / notional))


def prefactors_by_traders(
    orders: AggressiveOrders,
    book: BookPath,
    volatility_bps: float,
    volume_per_day: float,
    exponent: float,
    traders: tuple[int, ...],
    assignments: int,
    seed: int,
) -> dict[int, Floats]:
    """Y of each random assignment, by number of synthetic traders."""
    generator = np.random.default_rng(seed)
    result = {}
    for count in traders:
        values = []
        for _ in range(assignments):
            _, notional, impact = synthetic_metaorders(orders, book, count, generator)
            values.append(square_root_prefactor(notional, impact, volatility_bps, volume_per_day, exponent))
        result[count] = np.array(values)
    return result
