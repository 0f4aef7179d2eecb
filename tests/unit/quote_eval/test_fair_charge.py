from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from quote_eval.fair_charge import (
    DealerDraws,
    dealer_states,
    fair_charge,
    half_spread_draws,
    information_excess,
    information_is_separable,
    option_value_bps,
)
from quote_eval.inputs import EvaluationParameters
from quote_eval.numerics import survival
from tests.unit.quote_eval.builders import make_predictions

PARAMETERS = EvaluationParameters()
NOTIONAL = 5_000.0


def charge(predictions, *, notional=NOTIONAL, share=1.0, parameters=PARAMETERS, seed=7, dealers=1, fee=5.0):
    drawn = DealerDraws(parameters, seed, 0, len(predictions.permanent_bps))
    return fair_charge(predictions, notional, share, fee, drawn, dealers)


def test_a_panel_is_the_first_of_all_dealers_whatever_its_size():
    few, many = charge(make_predictions(), dealers=2), charge(make_predictions(), dealers=16)
    assert (few.base_bps == many.base_bps[:2]).all()
    assert (few.bars_bps == many.bars_bps).all()
    assert few.ttl_exercise.shape == few.margin_bps.shape == (2, 256)


def paths_cost(predictions, states, rates, dealer, draw, duration_s):
    """One dealer's costs after and before the trade, by integrating his position over time step by step."""
    half_spread, temporary, permanent, sigma_squared_half, alpha, arrival_s = rates
    t = np.linspace(0.0, duration_s, 40_001)
    stays = np.exp(-t / states.holding_time_s[dealer, draw])
    held, hedging = (1.0 - t / duration_s) * stays, stays / duration_s
    hedged = np.trapezoid(hedging, t)
    own_impact = permanent * np.trapezoid(held * hedging, t)
    risk = states.risk_aversion[dealer, draw] * sigma_squared_half * np.trapezoid(held**2, t) / 86_400.0
    information = alpha * np.trapezoid(held * np.exp(-t / arrival_s) / arrival_s, t)
    inventory = states.inventory[dealer, draw]

    def cost(size):
        return size * hedged * half_spread + (size * hedged) ** 1.6 * temporary + size**2 * (own_impact + risk)

    return cost(abs(inventory + 1.0)) + information, cost(abs(inventory))


@pytest.mark.parametrize("share, fee", [(1.0, 5.0), (0.3, 0.0)])
def test_the_closed_form_is_the_integral_over_the_dealers_path(share, fee):
    predictions = make_predictions()
    answer = charge(predictions, share=share, dealers=2, fee=fee)
    states = dealer_states(DealerDraws(PARAMETERS, 7, 0, 256))
    spreads = half_spread_draws(predictions, PARAMETERS, 7)
    for dealer, draw in ((0, 0), (0, 17), (1, 17), (1, 200)):
        by_duration = []
        for k, duration_s in enumerate(predictions.durations_s.tolist()):
            rates = (
                spreads[draw] + 0.5 * fee,
                predictions.temporary_bps[k, draw] * share**0.6,
                predictions.permanent_bps[draw] * share,
                0.5 * 250.0**2 * share * NOTIONAL / 1_500_000.0,
                max(predictions.information_bps[draw] - predictions.permanent_bps[draw], 0.0),
                20.0,
            )
            by_duration.append(paths_cost(predictions, states, rates, dealer, draw, duration_s))
        after, before = (min(costs) for costs in zip(*by_duration, strict=True))
        margin = states.margin_multiple[dealer, draw] * (0.2 + 0.25 * 4.0)
        assert answer.margin_bps[dealer, draw] == pytest.approx(margin)
        assert answer.base_bps[dealer, draw] == pytest.approx(0.05 + after - before + margin, abs=1e-4)


def test_the_bars_are_the_mean_charge():
    answer = charge(make_predictions())
    bars = 0.05 + answer.bars_bps.sum() + answer.margin_bps[0].mean()
    assert answer.base_bps[0].mean() == pytest.approx(bars, abs=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"permanent": 6.0},
        {"temporary_at_minute": 9.0},
        {"information": 12.0},
        {"volatility": 600.0},
        {"half_spread": 8.0},
        {"volume": 150_000.0},
    ],
)
def test_what_makes_the_market_worse_makes_the_charge_larger(change):
    information = change.get("information", 4.0 + change.get("permanent", 2.0) - 2.0)
    worse = make_predictions(**{**change, "information": information})
    assert charge(worse).base_bps.mean() > charge(make_predictions()).base_bps.mean() + 0.01


def test_hedging_and_bearing_risk_are_substitutes():
    # twice the risk aversion costs less than twice the risk bar: the dealer hedges faster instead
    calm = charge(make_predictions(volume=150_000.0)).bars_bps
    averse = charge(
        make_predictions(volume=150_000.0), parameters=replace(PARAMETERS, risk_aversion_median=10.0)
    ).bars_bps
    assert averse[3] < 10.0 * calm[3]
    assert averse[0] > calm[0]


def test_a_dealer_without_inventory_and_without_flow_pays_the_lit_market():
    # nothing is internalised when client flow never comes, nothing is netted when there is no inventory
    parameters = replace(
        PARAMETERS, inventory_sd=0.0, holding_time_median_s=1e9, risk_aversion_median=1e6, half_spread_log_sd=0.0
    )
    predictions = make_predictions(information=0.0)
    answer = charge(predictions, parameters=parameters)
    assert answer.bars_bps[0] == pytest.approx(4.0 + 2.5, rel=1e-3)
    assert answer.bars_bps[1] == pytest.approx(predictions.temporary_bps[0].mean(), rel=1e-3)
    assert answer.bars_bps[2] == pytest.approx(0.5 * predictions.permanent_bps.mean(), rel=1e-3)


def test_a_dealer_who_wants_the_position_charges_less():
    states = dealer_states(DealerDraws(PARAMETERS, 7, 0, 256))
    base = charge(make_predictions()).base_bps[0]
    offsetting, adding = base[states.inventory[0] < -0.3], base[states.inventory[0] > 0.3]
    assert offsetting.mean() < adding.mean() - 0.5


def test_both_halves_of_the_draws_meet_the_same_kinds_of_dealers():
    states = dealer_states(DealerDraws(PARAMETERS, 7, 0, 256))
    for state in (states.inventory, states.holding_time_s, states.risk_aversion, states.ttl_exercise):
        assert np.sort(state[:, :128]) == pytest.approx(np.sort(state[:, 128:]))
        assert not np.array_equal(state[:, :128], state[:, 128:])


def test_information_below_the_own_impact_is_no_reversion():
    predictions = make_predictions(information=1.0)
    assert (information_excess(predictions) == 0.0).all()
    assert not information_is_separable(predictions)
    assert charge(predictions).bars_bps[4] == 0.0


def test_the_option_of_a_firm_quote_grows_with_the_root_of_its_life():
    assert option_value_bps(250.0, 30.0) == pytest.approx(250.0 * (30.0 / 86_400.0) ** 0.5 * 0.39894228)
    assert option_value_bps(250.0, 120.0) == pytest.approx(2.0 * option_value_bps(250.0, 30.0))
    assert option_value_bps(250.0, -1.0) == 0.0


def uniform_distance(values):
    """Kolmogorov–Smirnov distance from the uniform law."""
    ordered, places = np.sort(values), np.arange(1, len(values) + 1) / len(values)
    return max(np.abs(places - ordered).max(), np.abs(ordered - places + 1.0 / len(values)).max())


def test_fairness_of_quotes_drawn_from_the_model_is_uniform():
    # other dealers and other parameter draws than the scorer's; 1 % point for 2,000 quotes is .036, and the scorer's
    # own 256 draws add about as much
    scorer = np.sort(charge(make_predictions()).draws(250.0, 30.0)[0])
    quotes = charge(make_predictions(seed=99, draws=2_000), seed=1_000).draws(250.0, 30.0)[0]
    assert uniform_distance(survival(scorer, quotes)) < 0.06
    assert uniform_distance(survival(scorer, quotes + 1.0)) > 0.10
