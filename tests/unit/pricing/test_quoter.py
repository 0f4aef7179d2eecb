from __future__ import annotations

import inspect
import math
from dataclasses import fields, replace
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import pricing.inputs
from pricing.inputs import AdverseSelectionForecast, LegInputs
from pricing.limits import Decline, DeclineReason
from pricing.quoter import QuoteProposal, SideQuote, price_rfq
from pricing.win_curve import WinCurve
from rfq_service.domain.instrument import ContractType
from rfq_service.domain.measures import client_cost_bps, price_at_cost
from rfq_service.domain.quote import check_quote
from rfq_service.domain.units import NS_PER_S, RequestSide, Side, is_multiple
from tests.unit.pricing.builders import NOW_NS, instrument, leg, market, parameters, request

INVENTORY = st.decimals(-400_000, 400_000, places=2)
QUANTITY = st.decimals("0.01", 100_000, places=2)
ADVERSE = st.floats(-1.0, 15.0)
INCREMENT = st.sampled_from(["0.0000001", "0.0001", "0.00025", "0.0007", "0.001"])


def quoted(inputs) -> QuoteProposal:
    proposal = price_rfq(inputs)
    assert isinstance(proposal, QuoteProposal), proposal
    return proposal


def both(inputs) -> tuple[SideQuote, SideQuote]:
    proposal = quoted(inputs)
    assert proposal.bid is not None
    assert proposal.ask is not None
    return proposal.bid, proposal.ask


def declined(inputs) -> DeclineReason:
    answer = price_rfq(inputs)
    assert isinstance(answer, Decline), answer
    return answer.reason


# ------------------------------------------------------------------------------------------------------- the formula


def test_price_is_mid_plus_cost_plus_margin():
    dealer = parameters(risk_aversion_per_bps_notional=0.0)
    bid, ask = both(request(leg(adverse_bps=3.0, sd_bps=2.0, dealer=dealer)))
    cost = 0.2 + 3.0 + 0.25 * 2.0
    for side_quote in (bid, ask):
        assert side_quote.markup_bps == pytest.approx(WinCurve(-1.0, 0.5).optimal_markup_bps(cost), abs=2e-6)
        assert side_quote.attribution.adverse_selection_bps == 3.0
        assert side_quote.attribution.uncertainty_bps == 0.5


@given(INVENTORY, QUANTITY, ADVERSE, INCREMENT, st.floats(0, 5), st.floats(-3, 3))
def test_attribution_adds_up_and_rounding_is_the_clients_cost(inventory, quantity, adverse, increment, sd, offset):
    inputs = request(
        leg(inventory=inventory, adverse_bps=adverse, sd_bps=sd, fair_value_offset_bps=offset),
        quantity=quantity,
        increment=increment,
    )
    bid, ask = both(inputs)
    mid = inputs.legs[0].market.mid
    for side_quote in (bid, ask):
        parts = side_quote.attribution
        bars = sum(getattr(parts, bar.name) for bar in fields(parts))
        exact = client_cost_bps(side_quote.side, side_quote.price.price, mid, ContractType.LINEAR)
        assert bars == pytest.approx(exact, abs=1e-9)
        assert parts.total_bps == pytest.approx(exact, abs=1e-9)
        assert side_quote.markup_bps == exact
        assert parts.margin_bps > 0
        assert -1e-7 <= parts.rounding_bps < float(Decimal(increment) / mid) * 1e4 + 1e-7


@given(INVENTORY, QUANTITY, ADVERSE, INCREMENT)
def test_proposals_are_valid_quotes(inventory, quantity, adverse, increment):
    inputs = request(leg(inventory=inventory, adverse_bps=adverse), quantity=quantity, increment=increment)
    bid, ask = both(inputs)
    assert bid.price.price < ask.price.price
    assert is_multiple(bid.price.price, Decimal(increment))
    assert is_multiple(ask.price.price, Decimal(increment))
    traded = inputs.legs[0].instrument
    check_quote(inputs.terms, {traded.instrument_id: traded}, bid.price, ask.price, inputs.quantity)


@given(INVENTORY, QUANTITY, ADVERSE, INCREMENT)
def test_two_way_is_both_one_way_quotes(inventory, quantity, adverse, increment):
    two_way = request(leg(inventory=inventory, adverse_bps=adverse), quantity=quantity, increment=increment)
    bid, ask = both(two_way)
    sell = quoted(replace(two_way, terms=replace(two_way.terms, side=RequestSide.SELL)))
    buy = quoted(replace(two_way, terms=replace(two_way.terms, side=RequestSide.BUY)))
    assert (sell.bid, sell.ask) == (bid, None)
    assert (buy.bid, buy.ask) == (None, ask)


@given(INVENTORY, st.decimals(1, 100_000, places=2), QUANTITY, ADVERSE)
def test_a_longer_dealer_bids_and_asks_lower(inventory, more, quantity, adverse):
    flat_bid, flat_ask = both(request(leg(inventory=inventory, adverse_bps=adverse), quantity=quantity))
    long_bid, long_ask = both(request(leg(inventory=inventory + more, adverse_bps=adverse), quantity=quantity))
    assert long_bid.price.price < flat_bid.price.price
    assert long_ask.price.price < flat_ask.price.price


@given(INVENTORY, QUANTITY, ADVERSE, st.floats(0.01, 5), INCREMENT)
def test_more_adverse_selection_is_never_cheaper(inventory, quantity, adverse, more, increment):
    bids, asks = zip(
        *(
            both(request(leg(inventory=inventory, adverse_bps=level), quantity=quantity, increment=increment))
            for level in (adverse, adverse + more)
        ),
        strict=True,
    )
    assert bids[1].price.price <= bids[0].price.price
    assert asks[1].price.price >= asks[0].price.price


@given(QUANTITY, ADVERSE)
def test_without_inventory_both_sides_are_alike(quantity, adverse):
    bid, ask = both(request(leg(adverse_bps=adverse), quantity=quantity))
    assert bid.markup_bps == pytest.approx(ask.markup_bps, abs=2e-6)
    assert bid.expected_pnl_bps == pytest.approx(ask.expected_pnl_bps, abs=2e-6)


@given(st.floats(-5, 5))
def test_a_fair_value_above_mid_moves_both_prices_up(offset):
    bid, ask = both(request(leg(fair_value_offset_bps=offset)))
    flat_bid, flat_ask = both(request(leg()))
    assert ask.attribution.fair_value_bps == offset == -bid.attribution.fair_value_bps
    assert (ask.price.price - flat_ask.price.price) * Decimal(math.copysign(1, offset)) >= 0
    assert (bid.price.price - flat_bid.price.price) * Decimal(math.copysign(1, offset)) >= 0


@given(st.sampled_from([10, 1000, 10**6]), INVENTORY, QUANTITY)
def test_the_currency_unit_does_not_matter(factor, inventory, quantity):
    """The same trade counted in a smaller unit: prices and notionals × factor, everything in bps unchanged."""
    base = leg(inventory=inventory)
    small = base.parameters
    scaled_dealer = replace(
        small,
        flow=tuple(replace(kind, size_notional=kind.size_notional * factor) for kind in small.flow),
        risk_aversion_per_bps_notional=small.risk_aversion_per_bps_notional / factor,
        inventory_limit_notional=small.inventory_limit_notional * factor,
        size_limit_notional=small.size_limit_notional * factor,
    )
    book = market(base.instrument, bid=str(Decimal("0.9996") * factor), ask=str(Decimal("1.0004") * factor))
    scaled = leg(inventory=inventory, dealer=scaled_dealer, book=book)
    increment = Decimal("0.0000000001")
    one = both(request(base, quantity=quantity, increment=increment))
    other = both(request(scaled, quantity=quantity, increment=increment * factor))
    for here, there in zip(one, other, strict=True):
        assert there.markup_bps == pytest.approx(here.markup_bps, abs=1e-5)
        assert there.expected_pnl_currency == pytest.approx(here.expected_pnl_currency * factor, rel=1e-5, abs=1e-4)


def test_expected_profit_is_probability_times_what_is_kept():
    bid, _ = both(request(leg(inventory="100000", adverse_bps=2.0, sd_bps=1.0)))
    parts = bid.attribution
    kept = bid.markup_bps - parts.processing_bps - parts.adverse_selection_bps
    assert bid.expected_pnl_bps == pytest.approx(bid.win_probability * kept)
    assert bid.expected_value_bps == pytest.approx(
        bid.win_probability * (kept - parts.inventory_bps - parts.uncertainty_bps)
    )
    assert bid.gross_notional == pytest.approx(20_000.0)
    assert bid.expected_pnl_currency == pytest.approx(bid.expected_pnl_bps / 1e4 * 20_000.0)


@given(INVENTORY, st.floats(0.5, 4), st.sampled_from([Side.BUY, Side.SELL]))
def test_no_other_price_is_worth_more(inventory, step, side):
    inputs = request(leg(inventory=inventory))
    quote = both(inputs)[0 if side is Side.SELL else 1]
    curve, cost = inputs.legs[0].parameters.win_curve, quote.attribution.cost_bps
    for other in (quote.markup_bps - step, quote.markup_bps + step):
        assert curve.win_probability(other) * (other - cost) < quote.expected_value_bps


# ------------------------------------------------------------------------------------------------ contracts, packages


def test_inverse_contract_counts_in_contracts_and_coin():
    traded = instrument("TEST.PERP.BTCUSD", ContractType.INVERSE)
    book = market(traded, bid="59999.9", ask="60000.1")
    inputs = request(leg(traded, inventory="1000", book=book), quantity="300", increment="0.1")
    bid, ask = both(inputs)
    assert bid.gross_notional == 30_000.0
    curvature_term = ask.attribution.inventory_bps - bid.attribution.inventory_bps
    linear = both(request(leg(inventory="100000"), quantity="30000"))
    assert curvature_term == pytest.approx(
        linear[1].attribution.inventory_bps - linear[0].attribution.inventory_bps, rel=1e-12
    )
    for quote in (bid, ask):
        ideal = quote.markup_bps - quote.attribution.rounding_bps
        assert quote.markup_bps == client_cost_bps(quote.side, quote.price.price, book.mid, ContractType.INVERSE)
        exact = price_at_cost(quote.side, ideal, 60_000.0, ContractType.INVERSE)
        assert abs(float(quote.price.price) - exact) <= 0.1


def spread_package(side: RequestSide = RequestSide.TWO_WAY, far_inventory: str = "0"):
    near, far = instrument("TEST.SPOT.NEAR"), instrument("TEST.SPOT.FAR")
    far_book = market(far, bid="1.0196", ask="1.0204")
    legs = (leg(near), leg(far, inventory=far_inventory, book=far_book))
    return request(*legs, side=side, increment="0.0001", leg_sides=(Side.BUY, Side.SELL))


def test_package_is_the_net_of_its_legs_rounded_against_the_client():
    inputs = spread_package()
    bid, ask = both(inputs)
    instruments = {given.instrument.instrument_id: given.instrument for given in inputs.legs}
    check_quote(inputs.terms, instruments, bid.price, ask.price, inputs.quantity)
    assert [part.side for part in ask.legs] == [Side.BUY, Side.SELL]
    assert [part.side for part in bid.legs] == [Side.SELL, Side.BUY]
    assert ask.price.price == ask.legs[0].price - ask.legs[1].price
    assert bid.price.price < Decimal("1.0000") - Decimal("1.0200") < ask.price.price
    for quote in (bid, ask):
        assert all(part.attribution.rounding_bps >= 0 for part in quote.legs)
        assert quote.gross_notional == pytest.approx(20_000 * 2.02)
        mean = (quote.legs[0].markup_bps * 1.0 + quote.legs[1].markup_bps * 1.02) / 2.02
        assert quote.markup_bps == pytest.approx(mean, abs=1e-9)
        assert quote.attribution.total_bps == pytest.approx(mean, abs=1e-9)


def test_inventory_of_a_sold_leg_counts_the_other_way():
    flat_ask, long_ask = (both(spread_package(far_inventory=held))[1] for held in ("0", "200000"))
    # Who buys the package sells the far leg to a dealer who is long of it already: dearer for him.
    assert long_ask.price.price > flat_ask.price.price


# --------------------------------------------------------------------------------------------------------- the limits


def test_valid_until_is_the_ttl_bounded_by_the_expiry():
    assert quoted(request(leg())).valid_until_ns == NOW_NS + 30 * NS_PER_S
    assert quoted(request(leg(), expires_in_s=12)).valid_until_ns == NOW_NS + 12 * NS_PER_S


def test_declines_name_their_reason():
    traded = instrument()
    cases = {
        DeclineReason.RFQ_EXPIRED: request(leg(), expires_in_s=0),
        DeclineReason.STALE_MARKET: request(leg(book=market(traded, age_s=5.1))),
        DeclineReason.VOLATILITY_UNKNOWN: request(leg(book=market(traded, volatility=None))),
        DeclineReason.FORECAST_UNCERTAIN: request(leg(sd_bps=20.1)),
        DeclineReason.SIZE_LIMIT: request(leg(), quantity="500001"),
        DeclineReason.INVENTORY_LIMIT: request(leg(inventory="990000")),
        DeclineReason.PRICE_COLLAR: request(leg(dealer=parameters(price_collar_bps=3.0))),
        DeclineReason.CROSSED: request(leg(adverse_bps=-60.0)),
    }
    assert {declined(inputs): reason for reason, inputs in cases.items()} == {reason: reason for reason in cases}
    assert set(cases) == set(DeclineReason)


def test_own_staleness_limit_is_stricter_than_the_instruments():
    dealer = parameters(market_age_limit_ns=NS_PER_S)
    assert declined(request(leg(dealer=dealer, book=market(instrument(), age_s=1.1)))) is DeclineReason.STALE_MARKET


def test_two_way_needs_room_on_the_worse_side_only_and_relief_is_always_quoted():
    near_limit = leg(inventory="990000")
    assert declined(request(near_limit)) is DeclineReason.INVENTORY_LIMIT
    assert declined(request(near_limit, side=RequestSide.SELL)) is DeclineReason.INVENTORY_LIMIT
    assert quoted(request(near_limit, side=RequestSide.BUY)).ask is not None
    beyond = leg(inventory="3000000", dealer=parameters(price_collar_bps=9_000.0))
    assert quoted(request(beyond, side=RequestSide.BUY)).ask is not None
    # Room for either fill, though not for both at once: a two-way request fills one side.
    assert quoted(request(leg(inventory="0"), quantity="500000")).bid is not None


def test_collar_holds_after_rounding():
    dealer = parameters(price_collar_bps=8.0)
    assert both(request(leg(dealer=dealer), increment="0.0001"))[1].markup_bps <= 8.0
    assert declined(request(leg(dealer=dealer), increment="0.001")) is DeclineReason.PRICE_COLLAR


def test_an_increment_above_the_price_is_declined():
    dealer = parameters(price_collar_bps=20_000.0)
    assert declined(request(leg(dealer=dealer), increment="10")) is DeclineReason.PRICE_COLLAR


@given(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(allow_nan=True, allow_infinity=True),
    st.decimals(Decimal("-1e17"), Decimal("1e17"), places=18),
    st.decimals(Decimal("1e-18"), Decimal("1e17"), places=18),
    st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
    st.floats(0, 1e300),
)
def test_extreme_inputs_give_finite_prices_or_a_decline(adverse, sd, offset, inventory, quantity, volatility, gamma):
    dealer = parameters(
        risk_aversion_per_bps_notional=gamma,
        adverse_selection_sd_limit_bps=1e300,
        inventory_limit_notional=1e300,
        size_limit_notional=1e300,
        price_collar_bps=9_000.0,
    )
    traded = instrument()
    wild = leg(traded, inventory, adverse, sd, dealer, market(traded, volatility=volatility), offset)
    answer = price_rfq(request(wild, quantity=quantity, increment="0.0001"))
    if isinstance(answer, QuoteProposal):
        for quote in (answer.bid, answer.ask):
            assert quote is not None
            assert quote.price.price.is_finite()
            numbers = [quote.markup_bps, quote.win_probability, quote.expected_pnl_bps, quote.expected_value_bps]
            numbers += [getattr(quote.attribution, bar.name) for bar in fields(quote.attribution)]
            assert all(map(math.isfinite, numbers)), quote


@given(st.floats(-1e6, 1e6), INVENTORY)
def test_a_quoted_side_is_within_the_collar(adverse, inventory):
    answer = price_rfq(request(leg(inventory=inventory, adverse_bps=adverse), increment="0.0001"))
    assume(isinstance(answer, QuoteProposal))
    assert isinstance(answer, QuoteProposal)
    assert all(quote is not None and abs(quote.markup_bps) <= 200.0 for quote in (answer.bid, answer.ask))


# ------------------------------------------------------------------------------------------------ information barrier


def test_inputs_have_no_place_for_the_clients_secrets():
    """Whatever a price may depend on is listed here; a new field has to be argued for."""
    assert {item.name for item in fields(pricing.inputs.PricingInputs)} == {"terms", "quantity", "legs", "now_ns"}
    assert {item.name for item in fields(LegInputs)} == {
        "instrument",
        "market",
        "inventory",
        "parameters",
        "adverse_selection",
        "fair_value_offset_bps",
    }
    assert {item.name for item in fields(AdverseSelectionForecast)} == {"expected_bps", "sd_bps", "source"}
    assert list(inspect.signature(price_rfq).parameters) == ["inputs"]
