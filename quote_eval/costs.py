"""What quotes cost against the references, before anything is judged: ranking, exact amounts, fixed point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter

import numpy as np

from quote_eval.benchmark import Reference, against_microprice, leg_cost_micro_currency
from quote_eval.inputs import EvaluationInputs, QuoteInputs
from quote_eval.numerics import Floats, to_micro_bps_array
from quote_eval.results import LegScore
from rfq_service.domain.measures import client_cost_bps
from rfq_service.domain.units import NS_PER_S, Side, to_micro_bps


@dataclass(slots=True, eq=False)
class PricedQuote:
    """One side of one quote against the references; ``rank`` 1 is best, live quotes before expired ones.

    Attributes:
        share: part of the request that the quote is good for, in (0, 1].
        ttl_s: life of the firm quote from its arrival on.
    """

    quote: QuoteInputs
    leg_prices: tuple[Decimal, ...]
    leg_costs_bps: tuple[float, ...]
    cost_bps: float
    second_cost_bps: float
    is_live: bool
    share: float
    ttl_s: float
    rank: int


def price_quotes(inputs: EvaluationInputs, references: tuple[Reference, ...], side: Side) -> tuple[PricedQuote, ...]:
    """Costs of every quote that has this side, best first: live before expired, then by cost, arrival and id."""
    legs = [(reference, reference.leg.side_of(side)) for reference in references]
    measured = []
    for quote in inputs.quotes:
        prices = quote.prices(side)
        if prices is None:
            continue
        leg_costs, cost, second = [], 0.0, 0.0
        for (reference, leg_side), price in zip(legs, prices, strict=True):
            leg_cost = client_cost_bps(leg_side, price, reference.market.mid, reference.leg.contract_type)
            leg_costs.append(leg_cost)
            cost += reference.weight * leg_cost
            second += reference.weight * against_microprice(reference, leg_side, leg_cost)
        order = (inputs.now_ns >= quote.valid_until_ns, cost, quote.received_at_ns, quote.quote_id)
        measured.append((order, quote, prices, tuple(leg_costs), second))
    measured.sort(key=itemgetter(0))
    requested = inputs.request.quantity
    return tuple(
        PricedQuote(
            quote=quote,
            leg_prices=prices,
            leg_costs_bps=leg_costs,
            cost_bps=order[1],
            second_cost_bps=second,
            is_live=not order[0],
            share=1.0 if quote.quantity >= requested else float(quote.quantity / requested),
            ttl_s=(quote.valid_until_ns - quote.received_at_ns) / NS_PER_S,
            rank=rank,
        )
        for rank, (order, quote, prices, leg_costs, second) in enumerate(measured, 1)
    )


def cost_table(priced: Sequence[PricedQuote]) -> Floats:
    """(N, 2 + L): cost of every quote by either reference, and of each of its legs."""
    return np.array([(item.cost_bps, item.second_cost_bps, *item.leg_costs_bps) for item in priced])


def fixed_costs(table: Floats, against_bps: Sequence[float]) -> list[list[int]]:
    """Rows of ``cost_table`` in 1e-6 bps, followed by the cost less each number of ``against_bps``."""
    excesses = table[:, :1] - np.array(against_bps)
    rows: list[list[int]] = to_micro_bps_array(np.concatenate((table, excesses), axis=1)).tolist()
    return rows


def cover_distance(priced: tuple[PricedQuote, ...]) -> int | None:
    """Of the best quote to the next live one, 1e-6 bps; live quotes come first."""
    if len(priced) < 2 or not priced[1].is_live:
        return None
    return to_micro_bps(priced[1].cost_bps - priced[0].cost_bps)


def leg_scores(
    inputs: EvaluationInputs,
    references: tuple[Reference, ...],
    side: Side,
    item: PricedQuote,
    leg_costs: list[int],
    fair: Sequence[tuple[int | None, int | None]],
) -> tuple[LegScore, ...]:
    """The legs of a quote; ``leg_costs`` and ``fair`` (fair median and fairness) hold each leg's in fixed point."""
    filled = min(item.quote.quantity, inputs.request.quantity)
    scores = []
    for reference, price, cost, (median, fairness) in zip(references, item.leg_prices, leg_costs, fair, strict=True):
        leg_side = reference.leg.side_of(side)
        scores.append(
            LegScore(
                instrument_id=reference.leg.instrument_id,
                side=leg_side.value,
                price=str(price),
                reference_mid=reference.mid_text,
                cost_micro_bps=cost,
                cost_micro_currency=leg_cost_micro_currency(reference, leg_side, price, filled),
                fair_median_micro_bps=median,
                fairness_ppm=fairness,
            )
        )
    return tuple(scores)
