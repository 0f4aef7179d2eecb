"""F as a panel sees it: one dealer's charge and the best of N, for a size and the life of a quote."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quote_eval.alternative import LegOutlook
from quote_eval.fair_charge import (
    DealerDraws,
    FairCharge,
    fair_charge,
    information_excess,
    information_is_separable,
    option_value_bps,
)
from quote_eval.inputs import EvaluationInputs, EvaluationParameters
from quote_eval.numerics import Floats, mean, quantile, survival, to_micro_bps_list, to_ppm_list
from quote_eval.results import Verdict, Waterfall
from rfq_service.domain.units import S_PER_DAY

_PPM = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class PanelCharge:
    """The charge for one size in bps of gross notional (``whole``), and each leg's own in bps of its notional."""

    whole: FairCharge
    legs: tuple[FairCharge, ...]
    volatility_bps_sqrt_day: float
    separable: bool

    def draws(self, ttl_s: float) -> Floats:
        """(P, M) draws of F for a quote that is firm for ``ttl_s``."""
        return self.whole.draws(self.volatility_bps_sqrt_day, ttl_s)

    @property
    def break_even_bps(self) -> Floats:
        """(M,) draws of what one dealer must not go below: F without TTL option and margin."""
        break_even: Floats = self.whole.base_bps[0] - self.whole.margin_bps[0]
        return break_even


@dataclass(frozen=True, slots=True, eq=False)
class Standard:
    """What a quote is judged by: ascending draws (M,) of one dealer's charge and of the best of N."""

    single: Floats
    best_of_n: Floats

    def fairness_ppm(self, costs_bps: Floats) -> tuple[list[int], list[int]]:
        """P(F ≥ c) of every cost (N,), against one dealer's charge and against the best of N."""
        return to_ppm_list(survival(self.single, costs_bps)), to_ppm_list(survival(self.best_of_n, costs_bps))

    def quantiles(self) -> Floats:
        """(3,): 5 %, 50 % and 95 % quantile of one dealer's charge."""
        return np.array([quantile(self.single, level) for level in (0.05, 0.5, 0.95)])


def classify(fairness_ppm: int, fairness_best_ppm: int, parameters: EvaluationParameters) -> Verdict:
    """Dear, fair or cheap.

    Dear is judged by one competitive dealer's charge. Cheap is judged by the best of N, because the best of many is
    cheaper than one without being suspicious. Both fall with the cost, so a better price never gets dearer.
    """
    if fairness_ppm < round(parameters.dear_below * _PPM):
        return Verdict.DEAR
    if fairness_best_ppm > round(parameters.cheap_above * _PPM):
        return Verdict.CHEAP
    return Verdict.FAIR


def build_panel_charge(
    inputs: EvaluationInputs, legs: tuple[LegOutlook, ...], volatility: float, share: float, dealers: int
) -> PanelCharge:
    """F of every leg for ``share`` of the request, summed by gross notional.

    The legs share their parameter draws; a dealer's state differs by leg. Netting between legs is not credited.
    """
    count = len(legs[0].predictions.permanent_bps)
    charges = tuple(
        fair_charge(
            leg.predictions,
            float(leg.reference.notional),
            share,
            leg.reference.market.taker_fee_bps,
            DealerDraws(inputs.parameters, inputs.seed, index, dealers, count),
        )
        for index, leg in enumerate(legs)
    )
    return PanelCharge(
        whole=charges[0] if len(legs) == 1 else _sum_by_weight(legs, charges),
        legs=charges,
        volatility_bps_sqrt_day=volatility,
        separable=all(information_is_separable(leg.predictions) for leg in legs),
    )


def _sum_by_weight(legs: tuple[LegOutlook, ...], charges: tuple[FairCharge, ...]) -> FairCharge:
    pairs = [(leg.reference.weight, charge) for leg, charge in zip(legs, charges, strict=True)]
    return FairCharge(
        base_bps=np.sum([weight * charge.base_bps for weight, charge in pairs], axis=0),
        margin_bps=np.sum([weight * charge.margin_bps for weight, charge in pairs], axis=0),
        bars_bps=np.sum([weight * charge.bars_bps for weight, charge in pairs], axis=0),
        ttl_exercise=charges[0].ttl_exercise,
    )


def build_standard(charge: PanelCharge, ttl_s: float, rivals: int) -> Standard:
    """Sort one dealer's draws and those of the best of ``rivals``, who share the parameters but not their states."""
    draws = charge.draws(ttl_s)
    single = np.sort(draws[0])
    return Standard(single, single if rivals <= 1 else np.sort(draws[:rivals].min(axis=0)))


def expected_bars(charge: PanelCharge, ttl_s: float, parameters: EvaluationParameters) -> list[int]:
    """Expected components of the charge in fixed point, in the order of ``Waterfall``, without the margin."""
    option = option_value_bps(charge.volatility_bps_sqrt_day, ttl_s) * float(mean(charge.whole.ttl_exercise[0]))
    half_spread, temporary, permanent, risk, information = charge.whole.bars_bps.tolist()
    if not charge.separable:
        permanent, information = 0.0, permanent + information
    return to_micro_bps_list(
        np.array([parameters.processing_bps, half_spread, temporary, permanent, information, risk, option])
    )


def build_waterfall(bars: list[int], cost_micro_bps: int, *, separable: bool) -> Waterfall:
    """Bars from mid to price; the margin is what the expected components leave of the cost, to the last 1e-6 bps."""
    processing, half_spread, temporary, permanent, information, risk, option = bars
    return Waterfall(
        processing_micro_bps=processing,
        hedging_half_spread_micro_bps=half_spread,
        hedging_temporary_micro_bps=temporary,
        own_permanent_micro_bps=permanent,
        information_micro_bps=information,
        risk_micro_bps=risk,
        ttl_option_micro_bps=option,
        margin_micro_bps=cost_micro_bps - sum(bars),
        information_separable=separable,
    )


def information_drift_bps(legs: tuple[LegOutlook, ...], delay_s: float, parameters: EvaluationParameters) -> Floats:
    """(M,) expected move against the client while he waits: the same information forecast as in F and A."""
    total = np.zeros(len(legs[0].predictions.permanent_bps))
    for leg in legs:
        arrival_s = parameters.information_time_share * leg.predictions.horizon_s
        arrived = -np.expm1(-delay_s / arrival_s)
        total += leg.reference.weight * arrived * information_excess(leg.predictions)
    return total


def move_sd_bps(volatility_bps_sqrt_day: float, delay_s: float) -> float:
    """Sd of the mid over a delay."""
    return volatility_bps_sqrt_day * float(np.sqrt(max(delay_s, 0.0) / S_PER_DAY))
