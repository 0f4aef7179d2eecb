"""The counter: asking the best dealer for a better price, at which price, and what that is expected to cost."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np

from quote_eval.alternative import OUTCOME_STREAM, objective
from quote_eval.benchmark import leg_cost_bps
from quote_eval.costs import PricedQuote
from quote_eval.numerics import Floats, ascending, uniforms_in_order
from quote_eval.results import Action, ActionEstimate, ReasonCode
from quote_eval.situation import Situation, estimate, missing_quote, refuse, worked_costs
from rfq_service.domain.instrument import ContractType
from rfq_service.domain.measures import price_at_cost
from rfq_service.domain.units import BPS, EXACT, NS_PER_S, Side, to_micro_bps

_SAME_COST_BPS = 1e-6  # costs as close as this are those of one price, but for the noise of floats


def counter(situation: Situation) -> ActionEstimate:
    """Ask the best dealer for a better price.

    He quoted ``c``, so his break-even ``B`` (F less margin) is below it; he concedes ``x`` with chance
    ``concession × P(x ≥ B | B ≤ c)``. Refused, his quote stands, or fades and the order is worked.
    """
    inputs, parameters = situation.inputs, situation.inputs.parameters
    if len(situation.legs) > 1:
        return refuse(Action.COUNTER, ReasonCode.PACKAGE)
    if not situation.full:
        return refuse(Action.COUNTER, missing_quote(situation))
    best = situation.full[0]
    left_ns = min(best.quote.valid_until_ns, inputs.request.expires_at_ns) - inputs.now_ns
    if left_ns <= parameters.counter_delay_s * NS_PER_S or situation.alternative.best is None:
        return refuse(Action.COUNTER, ReasonCode.NO_TIME_LEFT)
    proposal = _counter_price(situation, best)
    if proposal is None:
        return refuse(Action.COUNTER, ReasonCode.NO_BETTER_PRICE)
    price, concede = proposal
    cost = leg_cost_bps(situation.legs[0].reference, situation.legs[0].side, price)
    costs = worked_costs(situation, parameters.counter_delay_s)
    outcomes, order = uniforms_in_order(inputs.seed, OUTCOME_STREAM, len(costs))
    fade = concede + (1.0 - concede) * parameters.counter_fade
    conceded, faded = outcomes.searchsorted((concede, fade)).tolist()
    costs = costs[order]
    costs[:conceded] = cost
    costs[faded:] = best.cost_bps
    return estimate(
        Action.COUNTER,
        objective(costs, inputs),
        quote_id=best.quote.quote_id,
        price=str(price),
        quantity=str(inputs.request.quantity),
    )


def _counter_price(situation: Situation, best: PricedQuote) -> tuple[Decimal, float] | None:
    """The price on the increment, better than the quote, that gains most on average; and the chance to get it."""
    inputs, reference, side = situation.inputs, situation.legs[0].reference, situation.legs[0].side
    break_even = ascending(situation.charge.break_even_bps)
    below = break_even[: int(break_even.searchsorted(best.cost_bps, "right"))]
    if not len(below):
        return None
    # The increments are compared in floats; the one that is chosen becomes an exact price.
    mid, contract = float(reference.market.mid), reference.leg.contract_type
    increment = float(inputs.request.price_increment)
    target = target_bps(below, best.cost_bps, inputs.parameters.counter_affordable_min)
    nearest = ticks_in_favour(side, price_at_cost(side, target, mid, contract), increment)
    gains = []
    for ticks in (nearest, nearest + side.sign):
        if ticks <= 0:
            continue
        price = ticks * increment
        cost = side.sign * (price - mid) / (price if contract is ContractType.INVERSE else mid) * BPS
        gain = best.cost_bps - cost
        if gain <= _SAME_COST_BPS:
            continue
        chance = int(below.searchsorted(cost, "right")) / len(below) * inputs.parameters.counter_concession
        gains.append((to_micro_bps(chance * gain), chance, ticks))  # of equal gains the surer one
    best_gain, chance, ticks = max(gains, default=(0, 0.0, 0))
    return None if best_gain <= 0 else (EXACT.multiply(Decimal(ticks), inputs.request.price_increment), chance)


def target_bps(below: Floats, quoted_bps: float, affordable_min: float) -> float:
    """The counter that gains most on average: one of the break-evens, since their chance holds up to the next.

    Args:
        below: ascending break-evens of such dealers, none above the quote.
        quoted_bps: cost of the quote.
        affordable_min: share of those dealers who must be able to afford it.
    """
    first = int(affordable_min * len(below))
    able = np.arange(first + 1.0, len(below) + 1.0)
    return float(below[first + int(((quoted_bps - below[first:]) * able).argmax())])


def ticks_in_favour(side: Side, price: float, increment: float) -> int:
    """The nearest number of increments that is no worse for the client: he buys lower, he sells higher."""
    ticks = round(price / increment, 6)  # a price on the grid stays where it is, whatever its binary noise
    return math.floor(ticks) if side is Side.BUY else math.ceil(ticks)
