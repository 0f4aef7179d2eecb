"""Chances about working the order: what a schedule's cost may exceed, and whether it comes dearer than a quote."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from quote_eval.alternative import Alternative, per_sd, realised_survival
from quote_eval.numerics import Floats, ascending, mean, normal_cdf, survival, to_ppm_array
from quote_eval.results import Exceedances
from rfq_service.domain.units import to_micro_bps

_PPM = 1_000_000


class LitOdds(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Chances in 1e-6 for one side of a request.

    Attributes:
        exceedances: of every schedule.
        beaten: by quote, P(the best schedule's expected cost ≥ the quote's) and the same of its realised cost.
    """

    exceedances: list[Exceedances]
    beaten: list[tuple[int, int]]


def lit_odds(alternative: Alternative, thresholds_bps: tuple[float, ...], costs_bps: Sequence[float]) -> LitOdds:
    """All chances of all schedules in one go; ``beaten`` is empty when no schedule is admissible.

    The market's noise is integrated out for every threshold of every schedule and every quote against the best one.
    """
    expected, best, width = alternative.expected_bps, alternative.best, len(thresholds_bps)
    schedules, draws = expected.shape
    distances = (expected[:, None, :] - np.array(thresholds_bps)[:, None]).reshape(-1, draws)
    above = mean(distances > 0.0)
    scales, beaten = per_sd(alternative.timing_sd_bps).repeat(width), np.empty(0)
    if best is not None:
        costs = np.array(costs_bps)
        beaten = survival(ascending(expected[best]), costs)
        distances = np.concatenate((distances, expected[best] - costs[:, None]))
        scales = np.concatenate((scales, np.full(len(costs), scales[best * width])))
    realised = mean(normal_cdf(distances, scales[:, None]))
    chances = to_ppm_array(np.concatenate((above, realised, beaten))).tolist()
    cells = schedules * width
    known, whole = chances[:cells], chances[cells : 2 * cells]
    by_threshold, count = fixed_thresholds(thresholds_bps), len(beaten)
    return LitOdds(
        exceedances=[
            Exceedances(by_threshold, tuple(known[row : row + width]), tuple(whole[row : row + width]))
            for row in range(0, cells, width)
        ],
        beaten=list(zip(chances[2 * cells + count :], chances[2 * cells : 2 * cells + count], strict=True)),
    )


def certain_exceedances(thresholds_bps: tuple[float, ...], cost_bps: float) -> Exceedances:
    """Of a cost that is known."""
    certain = tuple([_PPM if cost_bps > x else 0 for x in thresholds_bps])
    return Exceedances(fixed_thresholds(thresholds_bps), certain, certain)


def exceedances(thresholds_bps: tuple[float, ...], expected_bps: Floats, market_sd_bps: Floats) -> Exceedances:
    """P(cost > x) of one expected cost (1, M): over parameters alone, and with the market's noise (1,)."""
    at = np.array(thresholds_bps)
    chances = np.stack((mean(expected_bps > at[:, None]), realised_survival(expected_bps, market_sd_bps, at)[0]))
    known, whole = to_ppm_array(chances).tolist()
    return Exceedances(fixed_thresholds(thresholds_bps), tuple(known), tuple(whole))


@lru_cache(maxsize=16)
def fixed_thresholds(thresholds_bps: tuple[float, ...]) -> tuple[int, ...]:
    """Thresholds in 1e-6 bps."""
    return tuple(to_micro_bps(x) for x in thresholds_bps)
