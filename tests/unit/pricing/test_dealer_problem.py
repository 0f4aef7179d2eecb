"""Policies scored exactly on the published long-run problems; REFERENCE numbers, to the digits given there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pricing.inputs import DealerParameters
from pricing.inventory import QuadraticValue, RequestFlow, quadratic_value
from pricing.quoter import QuoteProposal, price_rfq
from pricing.win_curve import WinCurve
from rfq_service.domain.units import Side
from tests.support import dealer_problem
from tests.support.dealer_problem import FX_EURUSD, RFQ_TOXIC, DealerProblem, Tier
from tests.unit.pricing import builders

Charge = Callable[[Side, float, float], float]


@functools.cache
def solved(problem: DealerProblem) -> tuple[float, dealer_problem.Policy]:
    return dealer_problem.optimum(problem)


def flow_of(problem: DealerProblem, unit: float = 1.0, *, at_cost: bool = True) -> tuple[RequestFlow, ...]:
    return tuple(
        RequestFlow(size * unit, rate, WinCurve(tier.alpha, tier.beta), tier.adverse if at_cost else 0.0)
        for tier in problem.tiers
        for size, rate in zip(problem.sizes, tier.rates, strict=True)
    )


def value_of(problem: DealerProblem, *, at_cost: bool = True) -> QuadraticValue:
    return quadratic_value(flow_of(problem, at_cost=at_cost), problem.gamma, problem.sigma)


def score(problem: DealerProblem, charge: Charge, adverse_factor: float = 1.0) -> float:
    """Objective of the package's closed forms with a given inventory charge, without hedging."""

    def quote(tier: Tier, size: float, inventory: float) -> tuple[float, float]:
        curve = WinCurve(tier.alpha, tier.beta)
        bid, ask = (
            curve.optimal_markup_bps(adverse_factor * tier.adverse + charge(side, inventory, size))
            for side in (Side.SELL, Side.BUY)
        )
        return bid, ask

    return dealer_problem.evaluate(problem, dealer_problem.policy_from(problem, quote))[0]


def markups(problem: DealerProblem, size_index: int, inventory: float) -> list[tuple[float, float]]:
    policy, place = solved(problem)[1], int(np.argmin(abs(problem.inventories - inventory)))
    return [(policy.bid[n, size_index, place], policy.ask[n, size_index, place]) for n in range(len(problem.tiers))]


@pytest.mark.parametrize(
    "problem, inventory, expected",
    [
        (RFQ_TOXIC, 0, [(3.2096, 3.2096), (3.8147, 3.8147)]),
        (RFQ_TOXIC, 5, [(4.9593, 1.8729), (5.9910, 2.0774)]),
        (FX_EURUSD, 0, [(0.2742, 0.2742), (0.1330, 0.1330)]),
        (FX_EURUSD, 20, [(0.4708, 0.1171), (0.3158, 0.0486)]),
    ],
)
def test_optimal_markups_are_the_published_ones(problem, inventory, expected):
    np.testing.assert_allclose(markups(problem, 0, inventory), expected, atol=5.1e-5)


def test_optimal_objectives_and_hedge_are_the_published_ones():
    assert solved(RFQ_TOXIC)[0] == pytest.approx(289.02, abs=0.005)
    objective, policy = solved(FX_EURUSD)
    assert objective == pytest.approx(1411.7, abs=0.05)
    assert policy.hedge[250] == 0.0
    assert policy.hedge[270] == pytest.approx(-1663, abs=0.5)


def test_published_scores_of_worse_policies():
    # Blind: the best policy of a dealer who believes that nobody is informed.
    blind_problem = replace(RFQ_TOXIC, tiers=tuple(replace(tier, adverse=0.0) for tier in RFQ_TOXIC.tiers))
    blind = solved(blind_problem)[1]
    assert dealer_problem.evaluate(RFQ_TOXIC, blind)[0] == pytest.approx(265.42, abs=0.005)
    assert score(FX_EURUSD, lambda *_: 0.0) == pytest.approx(-50_262, abs=0.5)


def test_quadratic_closed_form_scores_as_published():
    published = value_of(RFQ_TOXIC, at_cost=False)
    assert score(RFQ_TOXIC, published.charge_bps) == pytest.approx(288.58, abs=0.005)
    grid = FX_EURUSD.inventories
    value = -value_of(FX_EURUSD).curvature_bps_per_notional * grid**2
    unhedged = replace(dealer_problem.greedy(FX_EURUSD, value), hedge=np.zeros_like(grid))
    assert dealer_problem.evaluate(FX_EURUSD, unhedged)[0] == pytest.approx(1390.7, abs=0.06)


def test_expanding_at_the_adverse_selection_is_closer_to_the_optimum():
    here = score(RFQ_TOXIC, value_of(RFQ_TOXIC).charge_bps)
    assert here == pytest.approx(288.854, abs=0.001)
    assert 288.58 < here < solved(RFQ_TOXIC)[0]


def test_mistakes_in_the_formula_cost_what_is_known():
    best, charge = solved(RFQ_TOXIC)[0], value_of(RFQ_TOXIC).charge_bps
    wrong_sign = score(RFQ_TOXIC, lambda side, q, z: -charge(side, q, z))
    twice = score(RFQ_TOXIC, charge, adverse_factor=2.0)
    assert wrong_sign / best == pytest.approx(-4.33, abs=0.02)
    assert twice / best == pytest.approx(0.958, abs=0.002)


UNIT = builders.MILLION


def dealer_for(problem: DealerProblem, tier: Tier) -> DealerParameters:
    """The preset in currency: 1 M of it is a million of notional."""
    return builders.parameters(
        win_curve=WinCurve(tier.alpha, tier.beta),
        flow=flow_of(problem, UNIT),
        risk_aversion_per_bps_notional=problem.gamma / UNIT,
        processing_bps=0.0,
        inventory_limit_notional=1e12,
        size_limit_notional=1e12,
    )


def test_price_rfq_itself_scores_like_the_closed_form():
    """The entry point's own prices, in currency, rounded: 99.9 % of the optimum (a wrong sign gives −4 ×)."""
    problem = RFQ_TOXIC
    traded = builders.instrument()
    book = builders.market(traded, volatility=problem.sigma)
    dealers = {tier: dealer_for(problem, tier) for tier in problem.tiers}

    def quote(tier: Tier, size: float, inventory: float) -> tuple[float, float]:
        leg = builders.leg(traded, f"{inventory * UNIT:.0f}", tier.adverse, dealer=dealers[tier], book=book)
        proposal = price_rfq(builders.request(leg, quantity=f"{size * UNIT:.0f}"))
        assert isinstance(proposal, QuoteProposal)
        assert proposal.bid is not None
        assert proposal.ask is not None
        return proposal.bid.markup_bps, proposal.ask.markup_bps

    objective, _ = dealer_problem.evaluate(problem, dealer_problem.policy_from(problem, quote))
    assert objective == pytest.approx(score(problem, value_of(problem).charge_bps), abs=1e-4)
    assert objective > 0.999 * solved(problem)[0]


def test_evaluator_agrees_with_a_stationary_distribution():
    """Its objective is the mean reward under the chain's stationary law, here for the optimum of the toxic preset."""
    objective, policy = solved(RFQ_TOXIC)
    grid = RFQ_TOXIC.inventories
    generator = np.zeros((len(grid), len(grid)))
    reward = -RFQ_TOXIC.gamma / 2 * RFQ_TOXIC.sigma**2 * grid**2
    for n, tier in enumerate(RFQ_TOXIC.tiers):
        for i, size in enumerate(RFQ_TOXIC.sizes):
            for place in range(len(grid)):
                for sign, table in ((1, policy.bid), (-1, policy.ask)):
                    target = place + sign * round(size / RFQ_TOXIC.dq)
                    if 0 <= target < len(grid):
                        markup = table[n, i, place]
                        rate = tier.rates[i] / (1 + np.exp(tier.alpha + tier.beta * markup))
                        generator[place, target] += rate
                        generator[place, place] -= rate
                        reward[place] += rate * size * (markup - tier.adverse)
    system = np.vstack([generator.T[:-1], np.ones(len(grid))])
    law = np.linalg.solve(system, np.append(np.zeros(len(grid) - 1), 1.0))
    assert law.min() > 0
    assert law @ reward == pytest.approx(objective, abs=1e-6)
