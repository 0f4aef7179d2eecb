"""The dealer's price: cost, best markup, rounding and the waterfall that explains it.

For a fill of the client's side s, size z and dealer inventory q the cost per unit, in bps of mid, is

    p = s·fair value offset + processing + AS + ρ·sd(AS) + D(q, z)

and the markup is the best one against the win curve, ``argmax P(win | δ)(δ − p)``. The ρ term of the general objective,
``mean_θ[P(δ − AS − D)] − ρ·sd_θ[…]``, is exactly ``P·ρ·sd(AS)`` while AS is all that is uncertain, hence a cost.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from decimal import Decimal

from pricing.inputs import CLOSED_FORM, LegInputs, PricingInputs
from pricing.inventory import QuadraticValue, quadratic_value
from pricing.limits import Decline, DeclineReason, check_collar, check_inventory, check_request, check_size
from rfq_service.domain.errors import require
from rfq_service.domain.measures import client_cost_bps, price_at_cost
from rfq_service.domain.quote import SidePrice
from rfq_service.domain.units import BPS, Side, round_ask, round_bid


@dataclass(frozen=True, slots=True)
class Attribution:
    """What a price is made of, bps of mid seen as cost to the client; the parts add up to the quoted cost."""

    fair_value_bps: float
    processing_bps: float
    adverse_selection_bps: float
    uncertainty_bps: float
    inventory_bps: float
    margin_bps: float
    rounding_bps: float

    @property
    def total_bps(self) -> float:
        """The client's cost against mid."""
        return self.cost_bps + self.margin_bps + self.rounding_bps

    @property
    def cost_bps(self) -> float:
        """What the fill costs the dealer, inventory and uncertainty included."""
        return self.fill_cost_bps + self.uncertainty_bps + self.inventory_bps

    @property
    def fill_cost_bps(self) -> float:
        """What the fill is expected to cost the dealer in money: no charge for risk or for not knowing."""
        return self.fair_value_bps + self.processing_bps + self.adverse_selection_bps


@dataclass(frozen=True, slots=True)
class LegQuote:
    """One leg of one side. ``side`` is what the client does in this leg."""

    side: Side
    price: Decimal
    markup_bps: float
    win_probability: float
    notional: float
    attribution: Attribution


@dataclass(frozen=True, slots=True)
class SideQuote:
    """One side of a proposal; bps are of gross leg notional.

    Attributes:
        side: the client's; ``sell`` is the bid, ``buy`` the ask.
        markup_bps: client's cost against mid as quoted, so including rounding.
        win_probability: for a package the notional-weighted mean over its legs.
        expected_pnl_bps: P(win) × (markup − fair value − processing − adverse selection), summed over legs.
        expected_value_bps: the same less the charges for inventory and uncertainty: what the quote maximises.
        expected_pnl_currency: ``expected_pnl_bps`` in quote currency (its worth there, for an inverse contract).
        gross_notional: of all legs, at mid, quote currency.
    """

    side: Side
    price: SidePrice
    markup_bps: float
    win_probability: float
    expected_pnl_bps: float
    expected_value_bps: float
    expected_pnl_currency: float
    gross_notional: float
    attribution: Attribution
    legs: tuple[LegQuote, ...]


@dataclass(frozen=True, slots=True)
class QuoteProposal:
    """A price the dealer's policy would send.

    Attributes:
        bid, ask: what the client sells at and buys at; ``None`` where he did not ask.
        model: how the price was made.
        adverse_selection_source: which predictor the adverse selection came from, one per leg.
    """

    bid: SideQuote | None
    ask: SideQuote | None
    quantity: Decimal
    valid_until_ns: int
    model: str
    adverse_selection_source: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _LegState:
    """What both sides of a leg share."""

    inputs: LegInputs
    mid: float
    size_notional: float
    inventory_notional: float
    value: QuadraticValue


def price_rfq(inputs: PricingInputs) -> QuoteProposal | Decline:
    """Price a request on the sides its client asks for.

    A package is priced leg by leg, each against its own win curve and inventory; its price is the net of the legs'.

    Returns:
        The proposal, or the first reason not to quote. A two-way request is declined if either side is.
    """
    declined = check_request(inputs)
    if declined is not None:
        return declined
    states: list[_LegState] = []
    for index in range(len(inputs.legs)):
        state = _leg_state(inputs, index)
        declined = check_size(state.inputs, state.size_notional)
        if declined is not None:
            return declined
        states.append(state)
    quotes: dict[Side, SideQuote] = {}
    for side in inputs.terms.side.sides:
        quote = _price_side(inputs, states, side)
        if isinstance(quote, Decline):
            return quote
        quotes[side] = quote
    return _propose(inputs, quotes.get(Side.SELL), quotes.get(Side.BUY))


def _leg_state(inputs: PricingInputs, index: int) -> _LegState:
    leg = inputs.legs[index]
    instrument, mid, parameters = leg.instrument, leg.market.mid, leg.parameters
    volatility = leg.market.statistics.volatility_bps_sqrt_day
    require(volatility is not None, "check_request lets no leg without volatility through")
    quantity = inputs.terms.leg_quantity(inputs.terms.legs[index], inputs.quantity)
    return _LegState(
        inputs=leg,
        mid=float(mid),
        size_notional=float(instrument.notional(quantity, mid)),
        inventory_notional=float(instrument.notional(leg.inventory, mid)),
        value=quadratic_value(parameters.flow, parameters.risk_aversion_per_bps_notional, volatility or 0.0),
    )


def _price_side(inputs: PricingInputs, states: list[_LegState], side: Side) -> SideQuote | Decline:
    legs: list[LegQuote] = []
    for term, state in zip(inputs.terms.legs, states, strict=True):
        leg_side = term.side if side is Side.BUY else term.side.opposite
        quote = _price_leg(state, leg_side, inputs.terms.price_increment)
        if isinstance(quote, Decline):
            return quote
        legs.append(quote)
    leg_prices = tuple(leg.price for leg in legs)
    return _combine(side, SidePrice(inputs.terms.package_price(leg_prices), leg_prices), tuple(legs))


def _price_leg(state: _LegState, side: Side, increment: Decimal) -> LegQuote | Decline:
    leg, size_notional = state.inputs, state.size_notional
    declined = check_inventory(leg, side, state.inventory_notional, size_notional)
    if declined is not None:
        return declined
    inventory_bps = state.value.charge_bps(side, state.inventory_notional, size_notional)
    costs = _charges(leg, side, inventory_bps)
    ideal_bps = leg.parameters.win_curve.optimal_markup_bps(costs.cost_bps)
    declined = check_collar(leg, ideal_bps)
    if declined is not None:
        return declined
    contract_type = leg.instrument.contract_type
    ideal = price_at_cost(side, ideal_bps, state.mid, contract_type)
    price = round_ask(ideal, increment) if side is Side.BUY else round_bid(ideal, increment)
    if price <= 0:
        detail = f"{leg.instrument.instrument_id}: no positive price on the increment {increment}"
        return Decline(DeclineReason.PRICE_COLLAR, detail)
    markup_bps = client_cost_bps(side, price, leg.market.mid, contract_type)
    declined = check_collar(leg, markup_bps)
    if declined is not None:
        return declined
    return LegQuote(
        side=side,
        price=price,
        markup_bps=markup_bps,
        win_probability=leg.parameters.win_curve.win_probability(markup_bps),
        notional=size_notional,
        attribution=replace(costs, margin_bps=ideal_bps - costs.cost_bps, rounding_bps=markup_bps - ideal_bps),
    )


def _charges(leg: LegInputs, side: Side, inventory_bps: float) -> Attribution:
    """The cost of a fill before any margin; each charge enters here and nowhere else."""
    return Attribution(
        fair_value_bps=side.sign * leg.fair_value_offset_bps,
        processing_bps=leg.parameters.processing_bps,
        adverse_selection_bps=leg.adverse_selection.expected_bps,
        uncertainty_bps=leg.parameters.parameter_aversion * leg.adverse_selection.sd_bps,
        inventory_bps=inventory_bps,
        margin_bps=0.0,
        rounding_bps=0.0,
    )


def _combine(side: Side, price: SidePrice, legs: tuple[LegQuote, ...]) -> SideQuote:
    """Sum the legs up, weighted by notional; for a single leg the weights are one."""
    gross = sum(leg.notional for leg in legs)
    weights = [leg.notional / gross for leg in legs]
    parts = [leg.attribution for leg in legs]
    pairs = list(zip(weights, legs, strict=True))
    pnl_bps = sum(w * leg.win_probability * (leg.markup_bps - leg.attribution.fill_cost_bps) for w, leg in pairs)
    value_bps = sum(w * leg.win_probability * (leg.markup_bps - leg.attribution.cost_bps) for w, leg in pairs)
    return SideQuote(
        side=side,
        price=price,
        markup_bps=sum(w * leg.markup_bps for w, leg in pairs),
        win_probability=sum(w * leg.win_probability for w, leg in pairs),
        expected_pnl_bps=pnl_bps,
        expected_value_bps=value_bps,
        expected_pnl_currency=pnl_bps / BPS * gross,
        gross_notional=gross,
        attribution=parts[0] if len(parts) == 1 else _weighted(weights, parts),
        legs=legs,
    )


def _weighted(weights: list[float], parts: list[Attribution]) -> Attribution:
    names = [part.name for part in fields(Attribution)]
    totals = {name: sum(w * getattr(part, name) for w, part in zip(weights, parts, strict=True)) for name in names}
    return Attribution(**totals)


def _propose(inputs: PricingInputs, bid: SideQuote | None, ask: SideQuote | None) -> QuoteProposal | Decline:
    if bid is not None and ask is not None and bid.price.price >= ask.price.price:
        # Only a forecast of negative adverse selection, larger than both margins, leads here.
        return Decline(DeclineReason.CROSSED, f"bid {bid.price.price} is not below ask {ask.price.price}")
    return QuoteProposal(
        bid=bid,
        ask=ask,
        quantity=inputs.quantity,
        valid_until_ns=_valid_until_ns(inputs),
        model=CLOSED_FORM,
        adverse_selection_source=tuple(leg.adverse_selection.source for leg in inputs.legs),
    )


def _valid_until_ns(inputs: PricingInputs) -> int:
    """End of the shortest leg TTL, never after the RFQ or one of its instruments expires."""
    ends = [inputs.terms.expires_at_ns]
    for leg in inputs.legs:
        ends.append(inputs.now_ns + leg.parameters.quote_ttl_ns)
        if leg.instrument.expires_at_ns is not None:
            ends.append(leg.instrument.expires_at_ns)
    return min(ends)
