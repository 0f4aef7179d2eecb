"""F as a panel sees it: one dealer's charge and the best of N, for a size and the life of a quote."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from quote_eval.alternative import LegOutlook, weighted_sum
from quote_eval.fair_charge import (
    DealerDraws,
    FairCharge,
    fair_charge,
    information_is_separable,
    option_value_bps,
)
from quote_eval.inputs import EvaluationInputs, EvaluationParameters
from quote_eval.numerics import Floats, ascending, quantile
from quote_eval.results import Verdict, Waterfall
from rfq_service.domain.units import S_PER_DAY, to_micro_bps

_PPM = 1_000_000


class PanelCharge(msgspec.Struct, frozen=True, eq=False, gc=False):
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


class Standard(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What a quote is judged by: ascending draws (M,) of one dealer's charge and of the best of N.

    Attributes:
        quantiles_bps: 5 %, 50 % and 95 % quantile of one dealer's charge.
    """

    single: Floats
    best_of_n: Floats
    quantiles_bps: tuple[float, float, float]


class VerdictBounds(msgspec.Struct, frozen=True, gc=False):
    """Fairness (1e-6) below which a quote is dear, and above which it is cheap."""

    dear_below_ppm: int
    cheap_above_ppm: int

    @classmethod
    def of(cls, parameters: EvaluationParameters) -> VerdictBounds:
        """The bounds in fixed point, so that a stored fairness gives the stored verdict."""
        return cls(round(parameters.dear_below * _PPM), round(parameters.cheap_above * _PPM))

    def classify(self, fairness_ppm: int, fairness_best_ppm: int) -> Verdict:
        """Dear, fair or cheap.

        Dear is judged by one competitive dealer's charge. Cheap is judged by the best of N, because the best of many
        is cheaper than one without being suspicious. Both fall with the cost, so a better price never gets dearer.
        """
        if fairness_ppm < self.dear_below_ppm:
            return Verdict.DEAR
        if fairness_best_ppm > self.cheap_above_ppm:
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
            DealerDraws(inputs.parameters, inputs.seed, index, count),
            dealers,
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
        ttl_exercise_mean=charges[0].ttl_exercise_mean,
    )


def build_standard(charge: PanelCharge, ttl_s: float, rivals: int) -> Standard:
    """Sort one dealer's draws and those of the best of ``rivals``, who share the parameters but not their states."""
    draws = charge.draws(ttl_s)
    single = ascending(draws[0])
    return Standard(
        single=single,
        best_of_n=single if rivals <= 1 else ascending(np.minimum.reduce(draws[:rivals], axis=0)),
        quantiles_bps=(quantile(single, 0.05), quantile(single, 0.5), quantile(single, 0.95)),
    )


def expected_bars(charge: PanelCharge, ttl_s: float, parameters: EvaluationParameters) -> list[int]:
    """Expected components of the charge in fixed point, in the order of ``Waterfall``, without the margin."""
    option = option_value_bps(charge.volatility_bps_sqrt_day, ttl_s) * charge.whole.ttl_exercise_mean
    half_spread, temporary, permanent, risk, information = charge.whole.bars_bps.tolist()
    if not charge.separable:
        permanent, information = 0.0, permanent + information
    bars = (parameters.processing_bps, half_spread, temporary, permanent, information, risk, option)
    return [to_micro_bps(bar) for bar in bars]


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
    moves = []
    for leg in legs:
        arrival_s = parameters.information_time_share * leg.predictions.horizon_s
        moves.append(-math.expm1(-delay_s / arrival_s) * leg.excess_bps)
    return weighted_sum(legs, moves)


def move_sd_bps(volatility_bps_sqrt_day: float, delay_s: float) -> float:
    """Sd of the mid over a delay."""
    return volatility_bps_sqrt_day * math.sqrt(max(delay_s, 0.0) / S_PER_DAY)
