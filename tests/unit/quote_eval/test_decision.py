from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from quote_eval.counter import target_bps, ticks_in_favour
from quote_eval.inputs import EvaluationParameters
from quote_eval.ranking import evaluate_quotes
from quote_eval.results import Action, ReasonCode
from rfq_service.domain.rfq import SizeMode
from rfq_service.domain.units import NS_PER_S, RequestSide, Side
from tests.unit.quote_eval.builders import NOW_NS, make_inputs, make_leg, make_quote, make_request


def decide(request=None, quotes=None, parameters=None):
    """Actions by name, and the recommended one."""
    summary = evaluate_quotes(make_inputs(request, quotes, parameters)).sides[0]
    return {estimate.action: estimate for estimate in summary.actions}, summary.recommended


def ask(value, **changes):
    return (make_quote("q0", ask=value, **changes),)


def test_every_action_is_estimated_or_refused_with_a_reason():
    actions, recommended = decide()
    assert list(actions) == list(Action)
    for estimate in actions.values():
        known = (estimate.expected_micro_bps, estimate.cvar_micro_bps, estimate.objective_micro_bps)
        assert all((value is not None) == estimate.admissible for value in known)
        assert estimate.admissible or estimate.reasons
    assert ReasonCode.LOWEST_OBJECTIVE in actions[recommended].reasons


@given(st.integers(12_480, 12_600), st.floats(0.0, 20.0), st.floats(0.0, 1.0), st.integers(0, 3))
def test_the_recommended_action_has_the_least_expected_cost_plus_risk(ticks, information, weight, pending):
    parameters = EvaluationParameters(risk_weight=weight)
    request = make_request((make_leg(information=information),), pending_dealers=pending)
    actions, recommended = decide(request, ask(str(Decimal(ticks) / 10_000)), parameters)
    weighed = {name: e.objective_micro_bps for name, e in actions.items() if e.objective_micro_bps is not None}
    assert weighed[recommended] == min(weighed.values())
    for estimate in actions.values():
        if estimate.admissible:
            assert estimate.cvar_micro_bps >= estimate.expected_micro_bps - 1
            exact = (1.0 - weight) * estimate.expected_micro_bps + weight * estimate.cvar_micro_bps
            assert estimate.objective_micro_bps == pytest.approx(exact, abs=2)


def test_an_accepted_price_has_no_market_risk_left_and_every_other_action_has():
    actions, _ = decide(make_request(pending_dealers=2))
    accept = actions[Action.ACCEPT]
    assert accept.expected_micro_bps == accept.cvar_micro_bps == 4_800_000
    assert (accept.quote_id, accept.price, accept.quantity) == ("q0", "1.2506", "4000")
    for action in (Action.COUNTER, Action.WORK, Action.SPLIT, Action.WAIT):
        assert actions[action].cvar_micro_bps > actions[action].expected_micro_bps


def test_a_good_quote_is_accepted_and_a_terrible_one_is_not():
    assert decide(quotes=ask("1.2503"))[1] is Action.ACCEPT
    # far beyond the lit market, the order is worked
    assert decide(quotes=ask("1.2600"))[1] in {Action.WORK, Action.COUNTER}
    assert decide(quotes=ask("1.3500"))[0][Action.ACCEPT].admissible
    assert decide(quotes=())[1] is Action.WORK


def test_waiting_pays_when_dealers_are_still_to_come_and_the_quote_in_hand_is_dear():
    actions, recommended = decide(make_request(pending_dealers=4), ask("1.2513"))
    assert actions[Action.WAIT].expected_micro_bps < actions[Action.ACCEPT].expected_micro_bps
    assert recommended is not Action.ACCEPT
    more = decide(make_request(pending_dealers=8), ask("1.2513"))[0]
    assert more[Action.WAIT].expected_micro_bps < actions[Action.WAIT].expected_micro_bps


def test_waiting_needs_somebody_to_wait_for_and_time():
    assert decide()[0][Action.WAIT].reasons == (ReasonCode.NO_PENDING_DEALERS,)
    late = make_request(pending_dealers=3, expires_at_ns=NOW_NS + 5 * NS_PER_S)
    assert decide(late)[0][Action.WAIT].reasons == (ReasonCode.NO_TIME_LEFT,)


@pytest.mark.parametrize("side", [RequestSide.BUY, RequestSide.SELL])
@given(st.integers(2, 60), st.sampled_from(["0.0001", "0.00025", "0.001", "0.0007"]))
def test_a_counter_is_on_the_increment_and_better_than_the_quote(side, steps, increment):
    grid = Decimal(increment)
    sign = 1 if side is RequestSide.BUY else -1
    quoted = (Decimal("1.25") // grid + sign * steps) * grid
    quote = make_quote("q0", **{"ask" if sign == 1 else "bid": quoted})
    counter = decide(make_request(side=side, price_increment=grid), (quote,))[0][Action.COUNTER]
    if counter.admissible:
        price = Decimal(counter.price)
        assert price % grid == 0
        assert sign * (quoted - price) > 0
    else:
        assert counter.reasons == (ReasonCode.NO_BETTER_PRICE,)


@given(st.integers(1, 10**7), st.sampled_from(["0.0001", "0.00025", "0.7", "5"]), st.floats(0.01, 0.99))
def test_counters_are_rounded_in_the_clients_favour(steps, increment, part):
    grid = float(increment)
    between = steps * grid + part * grid
    assert ticks_in_favour(Side.BUY, between, grid) == steps
    assert ticks_in_favour(Side.SELL, between, grid) == steps + 1
    for side in Side:
        assert ticks_in_favour(side, float(steps * Decimal(increment)), grid) == steps


@given(st.lists(st.floats(-20.0, 10.0), min_size=1, max_size=30), st.sampled_from([0.0, 0.25, 0.6]))
def test_no_affordable_counter_gains_more_on_average(break_evens, affordable_min):
    below = np.sort(np.array(break_evens))
    lowest = below[int(affordable_min * len(below))]

    def gain(cost):
        return (below <= cost).mean() * (10.0 - cost)

    target = target_bps(below, 10.0, affordable_min)
    assert target >= lowest
    assert gain(target) >= max(gain(cost) for cost in np.linspace(lowest, 10.0, 50)) - 1e-9


def test_a_dear_quote_is_worth_a_counter():
    counter = decide(quotes=ask("1.2512"))[0][Action.COUNTER]
    assert counter.quote_id == "q0"
    # no fade and a dealer who always concedes what he can afford: countering beats accepting
    sure = EvaluationParameters(counter_fade=0.0, counter_concession=1.0)
    actions, recommended = decide(quotes=ask("1.2509"), parameters=sure)
    assert recommended is Action.COUNTER
    assert actions[Action.COUNTER].expected_micro_bps < actions[Action.ACCEPT].expected_micro_bps


def test_a_counter_needs_time_a_break_even_below_the_quote_and_one_leg():
    soon = ask("1.2512", ttl_s=4)  # it arrived a second ago
    assert decide(quotes=soon)[0][Action.COUNTER].reasons == (ReasonCode.NO_TIME_LEFT,)
    assert decide(quotes=ask("1.2400"))[0][Action.COUNTER].reasons == (ReasonCode.NO_BETTER_PRICE,)
    package = (make_leg(), make_leg(instrument_id="B", side=Side.SELL))
    both = (make_quote("q0", ask=("1.2506", "1.2494")),)
    assert decide(make_request(package), both)[0][Action.COUNTER].reasons == (ReasonCode.PACKAGE,)


def test_the_limit_price_is_honoured_by_every_action():
    request = make_request(limit_price=Decimal("1.2505"))
    actions, recommended = decide(request)
    for action in (Action.ACCEPT, Action.COUNTER, Action.WORK, Action.SPLIT):
        assert actions[action].reasons == (ReasonCode.LIMIT_PRICE,), action
    assert recommended is None
    at_limit = decide(make_request(limit_price=Decimal("1.2506")))
    assert at_limit[0][Action.ACCEPT].admissible
    assert at_limit[1] is Action.ACCEPT
    for action in (Action.WORK, Action.SPLIT):  # the part that is worked would fill beyond it on average
        assert at_limit[0][action].reasons == (ReasonCode.LIMIT_PRICE,)
    selling = make_request(side=RequestSide.SELL, limit_price=Decimal("1.2495"))
    bids = (make_quote("low", bid="1.2494"), make_quote("high", bid="1.2496"))
    assert decide(selling, bids)[0][Action.ACCEPT].quote_id == "high"
    assert not decide(selling, bids[:1])[0][Action.ACCEPT].admissible


def test_a_limit_on_a_package_is_on_its_net_price():
    package = (make_leg(mid="100"), make_leg(mid="90", instrument_id="B", side=Side.SELL))
    quotes = (make_quote("q0", ask=("100.02", "89.99")),)
    for limit, admissible in (("10.03", True), ("10.02", False)):
        request = make_request(package, limit_price=Decimal(limit), price_increment=Decimal("0.01"))
        assert decide(request, quotes)[0][Action.ACCEPT].admissible is admissible


def test_expired_quotes_are_not_acted_on():
    gone = ask("1.2500", ttl_s=1)
    actions, recommended = decide(quotes=gone)
    assert actions[Action.ACCEPT].reasons == (ReasonCode.NO_QUOTE,)
    assert recommended is Action.WORK


def test_size_modes_bound_what_is_split():
    whole = make_request(size_mode=SizeMode.ALL_OR_NONE)
    assert decide(whole)[0][Action.SPLIT].reasons == (ReasonCode.QUANTITY_NOT_ALL,)
    part = ask("1.2506", quantity="2000")
    actions, _ = decide(make_request(), part)
    assert actions[Action.ACCEPT].reasons == (ReasonCode.QUANTITY_PARTIAL,)
    assert Decimal(actions[Action.SPLIT].quantity) <= 2000
    least = make_request(size_mode=SizeMode.MINIMUM, minimum_quantity=Decimal(1800))
    assert Decimal(decide(least, part)[0][Action.SPLIT].quantity) == 2000
    too_much = replace(least, minimum_quantity=Decimal(3000))
    assert decide(too_much, part)[0][Action.SPLIT].reasons == (ReasonCode.QUANTITY_TOO_SMALL,)


def test_a_split_is_on_the_quantity_grid():
    request = make_request(quantity=Decimal("10.7"), quantity_step=Decimal("0.5"))
    quantity = Decimal(decide(request, ask("1.2506", quantity="10.7"))[0][Action.SPLIT].quantity)
    assert quantity % Decimal("0.5") == 0
    assert 0 < quantity < Decimal("10.7")


def test_working_says_how():
    work = decide()[0][Action.WORK]
    assert work.duration_ns == 300 * NS_PER_S
    assert work.slices == 30
    assert work.quantity == "4000"
    best = evaluate_quotes(make_inputs()).sides[0]
    assert abs(best.schedules[best.best_schedule].expected_micro_bps - work.expected_micro_bps) <= 5


def test_without_a_gentle_schedule_the_slowest_in_time_is_named_as_such():
    huge = make_request(quantity=Decimal(4_000_000))
    work = decide(huge, ask("1.2506", quantity="4000000"))[0][Action.WORK]
    assert ReasonCode.PARTICIPATION_EXCEEDED in work.reasons
    assert work.duration_ns == 3_600 * NS_PER_S
    hurried = make_request(complete_by_ns=NOW_NS + NS_PER_S)
    actions, recommended = decide(hurried)
    assert actions[Action.WORK].reasons == (ReasonCode.NO_TIME_LEFT,)
    assert recommended is Action.ACCEPT
    assert evaluate_quotes(make_inputs(hurried)).quotes[0].sides[0].edge_vs_lit_micro_bps is None


def test_both_sides_of_a_two_way_request_have_a_decision():
    quotes = (make_quote("q0", bid="1.2495", ask="1.2505"),)
    summaries = evaluate_quotes(make_inputs(make_request(side=RequestSide.TWO_WAY), quotes)).sides
    assert [summary.side for summary in summaries] == ["sell", "buy"]
    assert all(summary.recommended is not None for summary in summaries)
