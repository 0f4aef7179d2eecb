"""What quotes cost against the references, before anything is judged: ranking, exact amounts, fixed point."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from operator import itemgetter

import msgspec
import numpy as np

from quote_eval.benchmark import Reference, against_microprice, leg_cost_bps, leg_cost_micro_currency
from quote_eval.inputs import EvaluationInputs, QuoteInputs
from quote_eval.numerics import Floats, to_micro_bps_array
from quote_eval.results import LegScore
from rfq_service.domain.units import NS_PER_S, Side, to_micro_bps

# each leg with the client's side of it
SidedLegs = tuple[tuple[Reference, Side], ...]


class PricedQuote(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One side of one quote against the references; ``rank`` 1 is best, live quotes before expired ones.

    Attributes:
        leg_costs_micro_currency: cost of what the quote can fill, in millionths of the quote currency.
        share: part of the request that the quote is good for, in (0, 1].
        ttl_s: life of the firm quote from its arrival on.
    """

    quote: QuoteInputs
    leg_prices: tuple[Decimal, ...]
    leg_costs_bps: tuple[float, ...]
    leg_costs_micro_currency: tuple[int, ...]
    cost_bps: float
    second_cost_bps: float
    is_live: bool
    share: float
    ttl_s: float
    rank: int


def on_side(references: tuple[Reference, ...], side: Side) -> SidedLegs:
    """The references with the client's side of each leg when he trades the package on ``side``."""
    return tuple([(reference, reference.leg.side_of(side)) for reference in references])


def price_quotes(inputs: EvaluationInputs, legs: SidedLegs, side: Side) -> tuple[PricedQuote, ...]:
    """Costs of every quote that has this side, best first: live before expired, then by cost, arrival and id."""
    requested, measured = inputs.request.quantity, []
    for quote in inputs.quotes:
        prices = quote.prices(side)
        if prices is None:
            continue
        filled = min(quote.quantity, requested)
        leg_costs, amounts, cost, second = [], [], 0.0, 0.0
        for (reference, leg_side), price in zip(legs, prices, strict=True):
            leg_cost = leg_cost_bps(reference, leg_side, price)
            leg_costs.append(leg_cost)
            amounts.append(leg_cost_micro_currency(reference, leg_side, price, filled))
            cost += reference.weight * leg_cost
            second += reference.weight * against_microprice(reference, leg_side, leg_cost)
        order = (inputs.now_ns >= quote.valid_until_ns, cost, quote.received_at_ns, quote.quote_id)
        measured.append((order, quote, prices, tuple(leg_costs), tuple(amounts), second))
    measured.sort(key=itemgetter(0))
    return tuple(
        [
            PricedQuote(
                quote=quote,
                leg_prices=prices,
                leg_costs_bps=leg_costs,
                leg_costs_micro_currency=amounts,
                cost_bps=order[1],
                second_cost_bps=second,
                is_live=not order[0],
                share=1.0 if quote.quantity >= requested else float(quote.quantity / requested),
                ttl_s=(quote.valid_until_ns - quote.received_at_ns) / NS_PER_S,
                rank=rank,
            )
            for rank, (order, quote, prices, leg_costs, amounts, second) in enumerate(measured, 1)
        ]
    )


def cost_table(priced: Sequence[PricedQuote]) -> Floats:
    """(N, 2 + L): cost of every quote by either reference, and of each of its legs."""
    return np.array([(item.cost_bps, item.second_cost_bps, *item.leg_costs_bps) for item in priced])


def fixed_costs(table: Floats, against_bps: Sequence[float]) -> list[list[int]]:
    """Rows of ``cost_table`` in 1e-6 bps, followed by the cost less each number of ``against_bps``."""
    count, width = table.shape
    wide = np.empty((count, width + len(against_bps)))
    wide[:, :width] = table
    np.subtract(table[:, :1], against_bps, out=wide[:, width:])
    rows: list[list[int]] = to_micro_bps_array(wide).tolist()
    return rows


def cover_distance(priced: tuple[PricedQuote, ...]) -> int | None:
    """Of the best quote to the next live one, 1e-6 bps; live quotes come first."""
    if len(priced) < 2 or not priced[1].is_live:
        return None
    return to_micro_bps(priced[1].cost_bps - priced[0].cost_bps)


def leg_scores(
    legs: SidedLegs, item: PricedQuote, costs: list[int], fair: Sequence[tuple[int | None, int | None]]
) -> tuple[LegScore, ...]:
    """The legs of a quote; ``costs`` and ``fair`` (fair median and fairness) hold each leg's in fixed point."""
    return tuple(
        [
            LegScore(
                instrument_id=reference.leg.instrument_id,
                side=side,
                price=str(price),
                reference_mid=reference.mid_text,
                cost_micro_bps=cost,
                cost_micro_currency=amount,
                fair_median_micro_bps=median,
                fairness_ppm=fairness,
            )
            for (reference, side), price, cost, amount, (median, fairness) in zip(
                legs, item.leg_prices, costs, item.leg_costs_micro_currency, fair, strict=True
            )
        ]
    )
