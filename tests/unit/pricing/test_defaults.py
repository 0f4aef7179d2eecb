from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import pytest

from pricing.defaults import HOLDING_TIME_S, default_parameters
from pricing.inventory import quadratic_value
from pricing.quoter import QuoteProposal, price_rfq
from rfq_service.domain.market import Level, MarketSnapshot
from rfq_service.domain.units import RequestSide, Side
from tests.unit.pricing.builders import instrument, leg, market, request

NEXO = instrument()


def btc_market() -> MarketSnapshot:
    base = market(NEXO, bid="60000.00", ask="60000.01", volatility=250.0)
    measured = replace(base.statistics, spread_bps=0.002, depth_notional=167_900.0, volume_per_day_notional=1.5e9)
    return replace(base, statistics=measured)


def test_scale_is_the_half_spread_or_a_share_of_the_holding_risk():
    nexo = default_parameters(market(NEXO, volatility=300.0), NEXO)
    assert nexo.win_curve.optimal_markup_bps(0.0) == pytest.approx(4.0)
    btc = default_parameters(btc_market(), NEXO)
    expected = 0.025 * 250.0 * math.sqrt(HOLDING_TIME_S / 86_400)
    assert btc.win_curve.optimal_markup_bps(0.0) == pytest.approx(expected)
    assert btc.inventory_limit_notional == pytest.approx(3e7)


def test_skew_at_the_limit_is_about_three_scales():
    dealer = default_parameters(btc_market(), NEXO)
    value = quadratic_value(dealer.flow, dealer.risk_aversion_per_bps_notional, 250.0)
    skew = -value.charge_bps(Side.BUY, dealer.inventory_limit_notional, 0.0)
    assert skew / dealer.win_curve.optimal_markup_bps(0.0) == pytest.approx(2.94, abs=0.15)


def test_unmeasured_statistics_fall_back_on_the_book():
    seen = market(NEXO, volatility=300.0)
    nothing = replace(seen.statistics, spread_bps=None, depth_notional=None, volume_per_day_notional=None)
    levels = tuple(Level(Decimal("0.9996") - Decimal("0.0001") * k, Decimal(2_000)) for k in range(8))
    book = replace(seen, statistics=nothing, bids=levels, asks=(Level(Decimal("1.0004"), Decimal(4_000)),))
    dealer = default_parameters(book, NEXO)
    assert dealer.win_curve.optimal_markup_bps(0.0) == pytest.approx(4.0)
    assert dealer.inventory_limit_notional == pytest.approx(10 * (9_994 + 4_001.6) / 2)


@pytest.mark.parametrize("book", [market(NEXO), btc_market()], ids=["wide", "tight"])
@pytest.mark.parametrize("share", ["0.001", "0.1", "0.45"])
@pytest.mark.parametrize("held", ["-0.5", "0", "0.5"])
def test_defaults_quote_up_to_their_limits(book, share, held):
    dealer = default_parameters(book, NEXO)
    limit = Decimal(dealer.inventory_limit_notional) / book.mid
    quantity, inventory = ((limit * Decimal(part)).quantize(Decimal("0.01")) for part in (share, held))
    inputs = request(leg(NEXO, inventory, 1.0, 0.25, dealer, book), quantity=quantity, increment="0.000001")
    proposal = price_rfq(inputs)
    assert isinstance(proposal, QuoteProposal), proposal
    assert inputs.terms.side is RequestSide.TWO_WAY
    assert proposal.bid is not None
    assert proposal.ask is not None
    # Half the limit is much: who is that long already bids to win hardly ever, and asks to win mostly.
    assert 0.005 < proposal.bid.win_probability < 0.95
    assert (proposal.bid.win_probability - proposal.ask.win_probability) * float(held) <= 0
