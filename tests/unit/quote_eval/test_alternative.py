from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from quote_eval.alternative import objective, realised, realised_survival
from quote_eval.inputs import EvaluationParameters
from quote_eval.ranking import evaluate_quotes
from rfq_service.domain.units import NS_PER_S
from tests.unit.quote_eval.builders import DURATIONS_S, NOW_NS, make_inputs, make_leg, make_predictions, make_request


def schedules(inputs):
    return evaluate_quotes(inputs).sides[0].schedules


def test_the_parts_of_a_schedule_are_the_formula():
    for schedule, duration_s in zip(schedules(make_inputs()), DURATIONS_S, strict=True):
        pace = duration_s / 20.0  # the information of a 60 s horizon arrives with a time constant of 20 s
        unfilled = 1.0 - (1.0 - np.exp(-pace)) / pace
        assert schedule.fees_micro_bps == 5_000_000
        assert schedule.half_spread_micro_bps == pytest.approx(4e6 * np.exp(0.02), rel=1e-3)
        assert schedule.temporary_micro_bps == pytest.approx(3e6 * (duration_s / 60.0) ** -0.6, rel=0.01)
        assert schedule.permanent_micro_bps == pytest.approx(1e6, rel=1e-6)
        # α = max(information − permanent, 0) is rarely cut off here
        assert schedule.drift_micro_bps == pytest.approx(2e6 * unfilled, rel=0.01)
        assert schedule.timing_risk_micro_bps == pytest.approx(250e6 * (duration_s / 86_400 / 3) ** 0.5, rel=1e-6)
        assert schedule.slices == max(1, round(duration_s / 10))
        parts = (
            schedule.fees_micro_bps
            + schedule.half_spread_micro_bps
            + schedule.temporary_micro_bps
            + schedule.permanent_micro_bps
            + schedule.drift_micro_bps
        )
        assert schedule.expected_micro_bps == parts


def test_permanent_impact_does_not_depend_on_the_schedule():
    assert len({schedule.permanent_micro_bps for schedule in schedules(make_inputs())}) == 1


def test_the_table_that_users_know():
    # aggressive, balanced, passive: one normal of sd 4.02 around the expected totals gives 66, 15 and 5 %
    expected = np.array([11.7, 5.9, 3.4])[:, None] * np.ones(16)
    chances = realised_survival(expected, np.array([4.02] * 3), np.array([10.0]))
    assert chances[:, 0] == pytest.approx([0.66, 0.15, 0.05], abs=0.005)


def test_chances_of_exceeding_name_their_uncertainty():
    for schedule in schedules(make_inputs()):
        table = schedule.exceedances
        assert len(table.thresholds_micro_bps) >= 3
        assert list(table.parameter_ppm) == sorted(table.parameter_ppm, reverse=True)
        assert list(table.parameter_and_market_ppm) == sorted(table.parameter_and_market_ppm, reverse=True)
    slow = schedules(make_inputs())[-1].exceedances
    # what is expected is known within a bp or two, what an hour of market adds is not
    assert slow.parameter_ppm[1] == 1_000_000
    assert 500_000 < slow.parameter_and_market_ppm[1] < 700_000


def test_without_market_noise_both_chances_are_the_same():
    still = make_inputs(make_request((make_leg(volatility=0.0),)))
    for schedule in schedules(still):
        table = schedule.exceedances
        assert table.parameter_ppm == table.parameter_and_market_ppm


def test_realised_chances_agree_with_simulation():
    inputs = make_inputs()
    expected = make_predictions().temporary_bps[1] + 5.0
    noise = np.random.default_rng(3).normal(0.0, 4.0, size=(4_000, len(expected)))
    at = np.array([2.0, 9.0, 15.0])
    simulated = [(expected + noise > x).mean() for x in at]
    assert realised_survival(expected[None], np.array([4.0]), at)[0] == pytest.approx(simulated, abs=2e-3)
    mean, tail, weighed = objective(realised(expected, 4.0, inputs), inputs)
    assert mean == pytest.approx(expected.mean(), abs=1e-9)
    assert tail == pytest.approx(np.sort((expected + noise).ravel())[-51_200:].mean(), rel=0.03)
    assert weighed == pytest.approx(0.9 * mean + 0.1 * tail)


def test_schedules_end_in_time_and_are_gentle_enough():
    assert [schedule.admissible for schedule in schedules(make_inputs())] == [False, *[True] * 5]
    timed = make_request(complete_by_ns=NOW_NS + 400 * NS_PER_S)
    assert [s.admissible for s in schedules(make_inputs(timed))] == [False, True, True, True, False, False]
    thin = make_leg(predictions=replace(make_predictions(), depth_notional=1.0))
    assert [s.admissible for s in schedules(make_inputs(make_request((thin,))))] == [*[False] * 5, True]


def test_the_best_duration_trades_cost_against_risk():
    def best(weight):
        return evaluate_quotes(make_inputs(parameters=EvaluationParameters(risk_weight=weight))).sides[0].best_schedule

    assert best(0.0) == 5
    assert best(1.0) < best(0.1) < best(0.0)


def test_funding_not_yet_paid_is_credited_to_a_slow_buyer():
    leg = make_leg()
    paid = replace(leg, market=replace(leg.market, funding_bps_per_day=24.0))
    with_funding, without = schedules(make_inputs(make_request((paid,)))), schedules(make_inputs())
    assert without[-1].drift_micro_bps - with_funding[-1].drift_micro_bps == pytest.approx(0.5e6, abs=2)
