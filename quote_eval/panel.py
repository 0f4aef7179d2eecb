"""F as a panel sees it: one dealer's charge and the best of N, for a size and the life of a quote."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quote_eval.alternative import LegOutlook
from quote_eval.fair_charge import (
    FairCharge,
    dealer_states,
    fair_charge,
    information_excess,
    information_is_separable,
    option_value_bps,
)
from quote_eval.inputs import EvaluationInputs, EvaluationParameters
from quote_eval.numerics import Floats, quantile, survival, to_ppm
from quote_eval.results import Verdict, Waterfall
from rfq_service.domain.units import S_PER_DAY, to_micro_bps

_PPM = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class PanelCharge:
    """F without the TTL option for one size, bps of gross notional: package draws (P, M) and each leg's own."""

    base_bps: Floats
    margin_bps: Floats
    bars_bps: Floats
    ttl_exercise: Floats
    volatility_bps_sqrt_day: float
    separable: bool
    legs: tuple[FairCharge, ...]

    def draws(self, ttl_s: float) -> Floats:
        """(P, M) draws of F for a quote that is firm for ``ttl_s``."""
        return self.base_bps + self.ttl_exercise * option_value_bps(self.volatility_bps_sqrt_day, ttl_s)


@dataclass(frozen=True, slots=True, eq=False)
class Standard:
    """What a quote is judged by: ascending draws (M,) of one dealer's charge and of the best of N."""

    single: Floats
    best_of_n: Floats

    def verdict(self, cost_bps: float, parameters: EvaluationParameters) -> tuple[Verdict, int, int]:
        """Verdict, fairness and fairness against the best of N, both in ppm.

        Dear is judged by one competitive dealer's charge. Cheap is judged by the best of N, because the best of many
        is cheaper than one without being suspicious. Both fall with the cost, so a better price never gets dearer.
        """
        fairness = to_ppm(survival(self.single, cost_bps))
        fairness_best = to_ppm(survival(self.best_of_n, cost_bps))
        if fairness < round(parameters.dear_below * _PPM):
            return Verdict.DEAR, fairness, fairness_best
        if fairness_best > round(parameters.cheap_above * _PPM):
            return Verdict.CHEAP, fairness, fairness_best
        return Verdict.FAIR, fairness, fairness_best

    def quantiles(self) -> tuple[float, float, float]:
        """5 %, 50 % and 95 % quantile of one dealer's charge."""
        return quantile(self.single, 0.05), quantile(self.single, 0.5), quantile(self.single, 0.95)


def build_panel_charge(
    inputs: EvaluationInputs, legs: tuple[LegOutlook, ...], volatility: float, share: float, dealers: int
) -> PanelCharge:
    """F of every leg for ``share`` of the request, summed by gross notional.

    The legs share their parameter draws; a dealer's state differs by leg. Netting between legs is not credited.
    """
    parameters = inputs.parameters
    charges = tuple(
        fair_charge(
            leg.predictions,
            float(leg.reference.notional),
            share,
            parameters,
            inputs.seed,
            index,
            dealers,
            leg.reference.market.taker_fee_bps,
        )
        for index, leg in enumerate(legs)
    )
    weights = [leg.reference.weight for leg in legs]
    count = len(legs[0].predictions.permanent_bps)
    if len(legs) == 1:
        base, margin, bars = charges[0].base_bps, charges[0].margin_bps, charges[0].bars_bps
    else:
        pairs = list(zip(weights, charges, strict=True))
        base = np.sum([weight * charge.base_bps for weight, charge in pairs], axis=0)
        margin = np.sum([weight * charge.margin_bps for weight, charge in pairs], axis=0)
        bars = np.sum([weight * charge.bars_bps for weight, charge in pairs], axis=0)
    return PanelCharge(
        base_bps=base,
        margin_bps=margin,
        bars_bps=bars,
        ttl_exercise=dealer_states(parameters, inputs.seed, 0, dealers, count).ttl_exercise,
        volatility_bps_sqrt_day=volatility,
        separable=all(information_is_separable(leg.predictions) for leg in legs),
        legs=charges,
    )


def build_standard(charge: PanelCharge, ttl_s: float, rivals: int) -> Standard:
    """Sort one dealer's draws and those of the best of ``rivals``, who share the parameters but not their states."""
    draws = charge.draws(ttl_s)
    single = np.sort(draws[0])
    return Standard(single, single if rivals <= 1 else np.sort(draws[:rivals].min(axis=0)))


def build_waterfall(
    charge: PanelCharge, ttl_s: float, cost_micro_bps: int, parameters: EvaluationParameters
) -> Waterfall:
    """Bars from mid to price; the margin is what the expected components leave of the cost, to the last 1e-6 bps."""
    option = option_value_bps(charge.volatility_bps_sqrt_day, ttl_s) * float(charge.ttl_exercise[0].mean())
    half_spread, temporary, permanent, information, risk = charge.bars_bps.tolist()
    if not charge.separable:
        permanent, information = 0.0, permanent + information
    bars = [
        to_micro_bps(bar)
        for bar in (parameters.processing_bps, half_spread, temporary, permanent, information, risk, option)
    ]
    return Waterfall(*bars, cost_micro_bps - sum(bars), information_separable=charge.separable)


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
