"""What the actions on a request are weighed on, and how an estimate of one is made."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from quote_eval.alternative import Alternative, LegOutlook, realised
from quote_eval.benchmark import limit_cost_bps, within_limit
from quote_eval.costs import PricedQuote
from quote_eval.inputs import EvaluationInputs
from quote_eval.numerics import Floats, mean
from quote_eval.panel import PanelCharge, information_drift_bps, move_sd_bps
from quote_eval.results import Action, ActionEstimate, ReasonCode
from rfq_service.domain.units import Side, to_micro_bps


class Situation(msgspec.Struct, frozen=True, eq=False, gc=False):
    """All that the actions are weighed on.

    Attributes:
        candidates: the live quotes by ascending cost.
        admissible: those that honour the client's limit.
        full: those of them that are good for the whole request.
    """

    inputs: EvaluationInputs
    side: Side
    legs: tuple[LegOutlook, ...]
    charge: PanelCharge
    alternative: Alternative
    candidates: tuple[PricedQuote, ...]
    admissible: tuple[PricedQuote, ...]
    full: tuple[PricedQuote, ...]

    @classmethod
    def of(
        cls,
        inputs: EvaluationInputs,
        side: Side,
        legs: tuple[LegOutlook, ...],
        charge: PanelCharge,
        alternative: Alternative,
        candidates: tuple[PricedQuote, ...],
    ) -> Situation:
        """Sort the candidates out by what they are good for."""
        request = inputs.request
        admissible = tuple([item for item in candidates if within_limit(request, side, item.leg_prices)])
        full = tuple([item for item in admissible if item.quote.quantity >= request.quantity])
        return cls(inputs, side, legs, charge, alternative, candidates, admissible, full)


def missing_quote(situation: Situation) -> ReasonCode:
    """Why no quote can be taken whole."""
    if not situation.candidates:
        return ReasonCode.NO_QUOTE
    return ReasonCode.QUANTITY_PARTIAL if situation.admissible else ReasonCode.LIMIT_PRICE


def refuse(action: Action, *reasons: ReasonCode) -> ActionEstimate:
    """An action that is not possible, and why."""
    return ActionEstimate(action, admissible=False, reasons=reasons)


def estimate(
    action: Action, weighed_bps: Floats, reasons: tuple[ReasonCode, ...] = (), **details: Any
) -> ActionEstimate:
    """The estimate for expected cost, CVaR and objective (3,) of the whole request."""
    expected, tail, weighed = [to_micro_bps(value) for value in weighed_bps.tolist()]
    return ActionEstimate(
        action,
        admissible=True,
        reasons=reasons,
        expected_micro_bps=expected,
        cvar_micro_bps=tail,
        objective_micro_bps=weighed,
        **details,
    )


def worked_costs(situation: Situation, delay_s: float) -> Floats:
    """(M,) realised cost of working everything after a delay."""
    alternative, best = situation.alternative, situation.alternative.best or 0
    drift = information_drift_bps(situation.legs, delay_s, situation.inputs.parameters)
    noise = math.hypot(alternative.timing_sd_bps[best], move_sd_bps(situation.charge.volatility_bps_sqrt_day, delay_s))
    return realised(alternative.expected_bps[best] + drift, noise, situation.inputs)


def is_beyond_limit(situation: Situation, costs_bps: Floats) -> bool:
    """Whether an average fill at the mean of these costs (M,) is beyond the client's limit."""
    request = situation.inputs.request
    if request.limit_price is None:
        return False
    limit = limit_cost_bps(request, tuple(leg.reference for leg in situation.legs), situation.side)
    return limit is not None and float(mean(costs_bps)) > limit
