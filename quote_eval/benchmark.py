"""The references a quote is held against: plain mid, clipped microprice, limit; and when there is none."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from quote_eval.inputs import EvaluationParameters, LegInputs, LegMarket, RequestInputs
from quote_eval.results import ReasonCode
from rfq_service.domain.errors import require
from rfq_service.domain.instrument import ContractType
from rfq_service.domain.measures import client_cost_bps, microprice_offset_bps
from rfq_service.domain.units import BPS, EXACT, Side

_MICRO = 1_000_000


class Reference(msgspec.Struct, frozen=True, gc=False):
    """One leg's references: exact mid, microprice offset from it in bps, notional of the request at the mid.

    Attributes:
        mid_text: the mid as it is shown.
        size_per_package: ratio × multiplier, exact.
        weight: share of the gross notional.
    """

    leg: LegInputs
    market: LegMarket
    mid_text: str
    size_per_package: Decimal
    offset_bps: float
    notional: Decimal
    weight: float


def missing_reference(request: RequestInputs) -> ReasonCode | None:
    """Why the request cannot be scored at all: a leg without a market, or with one older than its limit."""
    for leg in request.legs:
        if leg.market is None or leg.market.mid <= 0:
            return ReasonCode.NO_MARKET
    if any(leg.market is not None and leg.market.age_ns > leg.market.staleness_limit_ns for leg in request.legs):
        return ReasonCode.STALE_MARKET
    return None


def build_references(request: RequestInputs, parameters: EvaluationParameters) -> tuple[Reference, ...]:
    """References of every leg; the weights are shares of the gross notional at the mids and add up to one."""
    markets = []
    for leg in request.legs:
        require(leg.market is not None, "a missing market is refused before")
        if leg.market is not None:
            markets.append((leg, leg.market, leg.notional(request.quantity, leg.market.mid)))
    gross = float(sum((notional for _, _, notional in markets), Decimal(0)))
    return tuple(
        Reference(
            leg=leg,
            market=market,
            mid_text=str(market.mid),
            size_per_package=EXACT.multiply(leg.ratio, leg.multiplier),
            offset_bps=microprice_offset_bps(market.imbalance, parameters.microprice_weight, market.half_spread_bps),
            notional=notional,
            weight=float(notional) / gross,
        )
        for leg, market, notional in markets
    )


def leg_cost_bps(reference: Reference, side: Side, price: Decimal) -> float:
    """Cost of one leg price against the mid; ``side`` is the client's on that leg."""
    return client_cost_bps(side, price, reference.market.mid, reference.leg.contract_type)


def against_microprice(reference: Reference, side: Side, cost_bps: float) -> float:
    """The same cost against the microprice ``m·(1 + offset)``: the formula of the first, solved for its price."""
    sign, offset = side.sign, reference.offset_bps / BPS
    signed = sign * cost_bps / BPS
    if reference.leg.contract_type is ContractType.INVERSE:  # s·(p − m)/p, so m/p = 1 − signed
        return sign * (1.0 - (1.0 - signed) * (1.0 + offset)) * BPS
    return sign * ((1.0 + signed) / (1.0 + offset) - 1.0) * BPS


def leg_cost_micro_currency(reference: Reference, side: Side, price: Decimal, quantity: Decimal) -> int:
    """Cost of ``quantity`` packages in millionths of the quote currency, exact but for the last rounding.

    Linear: ``s·(p − m) × size``. Inverse: the coin loss valued at the mid, ``s·(p − m)/p × notional``.
    """
    mid = reference.market.mid
    difference = EXACT.subtract(price, mid) if side is Side.BUY else EXACT.subtract(mid, price)
    amount = EXACT.multiply(EXACT.multiply(quantity, reference.size_per_package), difference)
    if reference.leg.contract_type is ContractType.INVERSE:
        amount /= price
    return round(amount * _MICRO)


def limit_cost_bps(request: RequestInputs, references: tuple[Reference, ...], side: Side) -> float | None:
    """Cost at the client's limit, in the same bps as all costs; ``None`` without a limit."""
    if request.limit_price is None:
        return None
    if len(references) == 1:
        return leg_cost_bps(references[0], references[0].leg.side_of(side), _leg_price(references[0], request))
    net = sum((ref.leg.side.sign * ref.leg.ratio * ref.market.mid for ref in references), Decimal(0))
    gross = sum((ref.leg.ratio * ref.market.mid for ref in references), Decimal(0))
    return side.sign * float((request.limit_price - net) / gross) * BPS


def _leg_price(reference: Reference, request: RequestInputs) -> Decimal:
    """Leg price of a single-leg limit: the net price is ``leg sign × ratio × price``."""
    limit = request.limit_price
    require(limit is not None, "asked only with a limit")
    return (limit or Decimal(0)) / (reference.leg.side.sign * reference.leg.ratio)


def within_limit(request: RequestInputs, side: Side, leg_prices: tuple[Decimal, ...]) -> bool:
    """Whether the net price of the package honours the client's limit, exactly."""
    if request.limit_price is None:
        return True
    net = Decimal(0)
    for leg, price in zip(request.legs, leg_prices, strict=True):
        net = EXACT.add(net, EXACT.multiply(EXACT.multiply(Decimal(leg.side.sign), leg.ratio), price))
    return side.sign * (request.limit_price - net) >= 0
