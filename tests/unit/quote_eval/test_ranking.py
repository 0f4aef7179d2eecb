from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple, fields, replace

from quote_eval.benchmark import against_microprice, build_references
from quote_eval.fair_charge import draw_panel
from quote_eval.inputs import EvaluationParameters
from quote_eval.ranking import evaluate_quotes, warm_up
from quote_eval.results import ReasonCode, Verdict
from rfq_service.domain.instrument import ContractType
from rfq_service.domain.measures import client_cost_bps
from rfq_service.domain.units import NS_PER_S, RequestSide, Side
from tests.unit.quote_eval.builders import (
    ASKS,
    DURATIONS_S,
    NOW_NS,
    make_inputs,
    make_leg,
    make_predictions,
    make_quote,
    make_request,
)

TICKS = st.integers(12_300, 12_700)


def price(ticks):
    return Decimal(ticks) / 10_000


def sides(inputs, index=0):
    """Scores of one side by quote id."""
    return {quote.quote_id: quote.sides[index] for quote in evaluate_quotes(inputs).quotes}


def buy(*ticks, **changes):
    quotes = tuple(make_quote(f"q{i}", ask=price(tick)) for i, tick in enumerate(ticks))
    return make_inputs(make_request(**changes), quotes)


def test_a_dearer_quote_is_never_fairer_never_ranked_above_and_never_judged_milder():
    order = [Verdict.CHEAP, Verdict.FAIR, Verdict.DEAR]

    @given(st.lists(TICKS, min_size=2, max_size=6, unique=True))
    def check(ticks):
        scores = sorted(sides(buy(*ticks)).values(), key=lambda score: score.cost_micro_bps)
        assert [score.rank for score in scores] == list(range(1, len(ticks) + 1))
        for better, worse in pairwise(scores):
            assert better.fairness_ppm >= worse.fairness_ppm
            assert better.fairness_best_of_n_ppm >= worse.fairness_best_of_n_ppm
            assert better.p_beats_lit_ppm >= worse.p_beats_lit_ppm
            assert better.p_beats_lit_realised_ppm >= worse.p_beats_lit_realised_ppm
            assert order.index(better.verdict) <= order.index(worse.verdict)

    check()


@given(TICKS, st.integers(-50, 50))
def test_excess_moves_with_the_cost_and_the_waterfall_adds_up(ticks, shift):
    one, other = sides(buy(ticks)), sides(buy(ticks + shift))
    moved = other["q0"].cost_micro_bps - one["q0"].cost_micro_bps
    for name in ("excess_micro_bps", "excess_low_micro_bps", "excess_high_micro_bps"):
        assert abs(getattr(other["q0"], name) - getattr(one["q0"], name) - moved) <= 2
    assert abs(one["q0"].edge_vs_lit_micro_bps - other["q0"].edge_vs_lit_micro_bps - moved) <= 2
    for score in (one["q0"], other["q0"]):
        assert score.waterfall.total_micro_bps == score.cost_micro_bps
        assert score.excess_low_micro_bps < score.excess_micro_bps < score.excess_high_micro_bps
    assert one["q0"].waterfall.information_micro_bps == other["q0"].waterfall.information_micro_bps


def test_a_quote_at_the_median_is_as_likely_dear_as_cheap():
    median = sides(buy(12_500))["q0"].fair_median_micro_bps
    at_median = (Decimal(1) + Decimal(median) / 10**10) * Decimal("1.25")
    score = sides(make_inputs(quotes=(make_quote("q0", ask=at_median),)))["q0"]
    assert abs(score.fairness_ppm - 500_000) <= 2
    assert abs(score.excess_micro_bps) <= 1
    assert score.verdict is Verdict.FAIR


@given(st.lists(TICKS, min_size=1, max_size=4), st.lists(st.integers(1, 60), min_size=4, max_size=4))
@settings(max_examples=40)
def test_a_two_way_request_is_scored_as_its_two_sides(bids, widths):
    pairs = list(zip(bids, widths, strict=False))
    quotes = tuple(make_quote(f"q{i}", bid=price(b), ask=price(b + w)) for i, (b, w) in enumerate(pairs))
    leg = (make_leg(imbalance=0.3),)
    two_way = evaluate_quotes(make_inputs(make_request(leg, side=RequestSide.TWO_WAY), quotes))
    selling = evaluate_quotes(
        make_inputs(make_request(leg, side=RequestSide.SELL), tuple(replace(quote, ask=None) for quote in quotes))
    )
    buying = evaluate_quotes(
        make_inputs(make_request(leg, side=RequestSide.BUY), tuple(replace(quote, bid=None) for quote in quotes))
    )
    for i, (_, width) in enumerate(pairs):
        assert two_way.quotes[i].sides == selling.quotes[i].sides + buying.quotes[i].sides
        assert two_way.quotes[i].width_micro_bps == round(width * 10_000 / 12_500 * 1e6)
        centre = Decimal(bids[i]) + Decimal(width) / 2
        assert abs(two_way.quotes[i].skew_micro_bps - (centre / 12_500 - 1) * 10**10) <= 1
    assert two_way.sides == selling.sides + buying.sides


@given(st.lists(st.integers(-200, 200), min_size=1, max_size=5), st.floats(-1.0, 1.0))
@settings(max_examples=40)
def test_buying_and_selling_are_mirror_images(offsets, imbalance):
    def scored(side, sign):
        quotes = tuple(
            make_quote(f"q{i}", **{"ask" if side is RequestSide.BUY else "bid": price(12_500 + sign * offset)})
            for i, offset in enumerate(offsets)
        )
        return sides(make_inputs(make_request((make_leg(imbalance=sign * imbalance),), side=side), quotes))

    for bought, sold in zip(scored(RequestSide.BUY, 1).values(), scored(RequestSide.SELL, -1).values(), strict=True):
        legs_apart = {"side": "", "legs": (), "cost_second_reference_micro_bps": 0}
        assert replace(bought, **legs_apart) == replace(sold, **legs_apart)
        # s·(p − m')/m' is not quite odd: second order in 1e-4
        difference = bought.cost_second_reference_micro_bps - sold.cost_second_reference_micro_bps
        assert abs(difference) < 50_000


def numbers(value):
    """Every leaf of a result."""
    if isinstance(value, msgspec.Struct):
        for field in fields(value):
            yield from numbers(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from numbers(item)
    else:
        yield value


@given(
    st.fixed_dictionaries(
        {
            "permanent": st.floats(0.0, 500.0),
            "temporary_at_minute": st.floats(0.0, 500.0),
            "information": st.floats(-50.0, 500.0),
            "volatility": st.floats(0.0, 3_000.0),
            "half_spread": st.floats(0.0, 200.0),
            "volume": st.floats(1e3, 1e11),
        }
    ),
    st.decimals("0.0001", "10000000", places=4),
    st.integers(1, 10**6),
    st.integers(0, 86_400),
    st.integers(0, 3),
)
@settings(max_examples=60)
def test_every_number_of_every_result_is_an_integer(market, quantity, ticks, ttl_s, pending):
    quotes = (
        make_quote("q0", ask=price(ticks), quantity=str(quantity), ttl_s=ttl_s),
        make_quote("q1", ask=price(12_510), quantity=str(quantity / 2), ttl_s=60),
    )
    request = make_request(
        (make_leg(**market),), quantity=quantity, quantity_step=Decimal("0.0001"), pending_dealers=pending
    )
    result = evaluate_quotes(make_inputs(request, quotes))
    assert all(value is None or isinstance(value, (int, str)) for value in numbers(result))
    assert result.quotes[0].sides[0].fairness_ppm is not None


@given(st.integers(1, 10**6), TICKS)
def test_currency_cost_scales_with_the_quantity_and_is_exact(quantity, ticks):
    quotes = (make_quote("q0", ask=price(ticks), quantity=str(quantity)),)
    score = sides(make_inputs(make_request(quantity=Decimal(quantity)), quotes))["q0"]
    assert score.cost_micro_currency == (ticks - 12_500) * 100 * quantity
    assert score.legs[0].cost_micro_currency == score.cost_micro_currency


def test_an_old_market_gives_no_number():
    limit_ns = 5 * NS_PER_S
    for age_ns, verdict in ((limit_ns, Verdict.DEAR), (limit_ns + 1, Verdict.STALE)):
        result = evaluate_quotes(
            make_inputs(make_request((make_leg(age_ns=age_ns),)), (make_quote("q0", ask="1.2600"),))
        )
        assert result.quotes[0].sides[0].verdict is verdict
    score = result.quotes[0].sides[0]
    assert score.reasons == (ReasonCode.STALE_MARKET,)
    assert result.sides == ()
    assert result.reasons == (ReasonCode.STALE_MARKET,)
    measured = {field.name: getattr(score, field.name) for field in fields(score)}
    known = ("side", "verdict", "reasons", "is_live", "legs")
    assert all(value is None for name, value in measured.items() if name not in known)


def test_one_old_leg_makes_the_package_stale_and_a_missing_market_is_named():
    package = (make_leg(), make_leg(instrument_id="B", age_ns=NS_PER_S * 60))
    result = evaluate_quotes(make_inputs(make_request(package), (make_quote("q0", ask=("1.26", "1.26")),)))
    assert result.quotes[0].sides[0].verdict is Verdict.STALE
    nowhere = replace(make_leg(), market=None)
    result = evaluate_quotes(make_inputs(make_request((nowhere,)), (make_quote("q0", ask="1.26"),)))
    assert result.quotes[0].sides[0].verdict is Verdict.UNRELIABLE
    assert result.reasons == (ReasonCode.NO_MARKET,)


def test_without_statistics_the_cost_is_still_given():
    leg = replace(make_leg(), buying=None, selling=None)
    result = evaluate_quotes(make_inputs(make_request((leg,))))
    whole = evaluate_quotes(make_inputs())
    for bare, full in zip(result.quotes, whole.quotes, strict=True):
        score = bare.sides[0]
        assert score.verdict is Verdict.UNRELIABLE
        assert score.reasons == (ReasonCode.INSUFFICIENT_STATISTICS,)
        assert (score.rank, score.cost_micro_bps, score.cost_micro_currency, score.cover_distance_micro_bps) == (
            full.sides[0].rank,
            full.sides[0].cost_micro_bps,
            full.sides[0].cost_micro_currency,
            full.sides[0].cover_distance_micro_bps,
        )
        assert score.fairness_ppm is None
        assert score.waterfall is None
    assert result.sides[0].recommended is None


def test_references_that_disagree_make_the_verdict_unreliable():
    # the order book leans so far that the microprice is two bps above the mid: a dear quote looks fair against it
    parameters = EvaluationParameters(microprice_weight=1.0)
    quote = (make_quote("q0", ask="1.2512"),)
    for imbalance, verdict in ((0.0, Verdict.DEAR), (1.0, Verdict.UNRELIABLE), (-1.0, Verdict.DEAR)):
        leg = (make_leg(imbalance=imbalance),)
        score = sides(make_inputs(make_request(leg), quote, parameters))["q0"]
        assert score.verdict is verdict
        assert (ReasonCode.REFERENCE_AMBIGUOUS in score.reasons) == (verdict is Verdict.UNRELIABLE)
        assert score.cost_micro_bps - score.cost_second_reference_micro_bps == pytest.approx(2e6 * imbalance, rel=0.01)


@pytest.mark.parametrize("contract_type", list(ContractType))
@pytest.mark.parametrize("side", list(Side))
def test_the_second_reference_is_the_first_formula_at_the_microprice(contract_type, side):
    leg = make_leg(mid="50000", contract_type=contract_type, imbalance=0.8)
    request = make_request((leg,))
    reference = build_references(request, EvaluationParameters(microprice_weight=0.6))[0]
    assert reference.offset_bps == pytest.approx(0.48 * 4.0)
    quoted, microprice = Decimal(50060), Decimal(str(50_000 * (1.0 + reference.offset_bps / 1e4)))
    cost = client_cost_bps(side, quoted, Decimal(50_000), contract_type)
    exact = client_cost_bps(side, quoted, microprice, contract_type)
    assert against_microprice(reference, side, cost) == pytest.approx(exact, abs=1e-6)


def test_inverse_contracts_are_scored_in_coin():
    leg = make_leg(mid="50000", contract_type=ContractType.INVERSE, multiplier="100", instrument_id="BTCUSD_PERP")
    request = make_request((leg,), quantity=Decimal(40), price_increment=Decimal("0.1"))
    score = sides(make_inputs(request, (make_quote("q0", ask="50050", quantity="40"),)))["q0"]
    assert score.cost_micro_bps == round(50 / 50_050 * 1e10)
    coins_lost = Decimal(4_000) / 50_000 - Decimal(4_000) / 50_050
    assert score.cost_micro_currency == round(coins_lost * 50_000 * 10**6)
    assert evaluate_quotes(make_inputs(request, ())).sides[0].gross_notional == "4000"


def test_a_package_is_the_sum_of_its_legs_by_gross_notional():
    near = make_leg(mid="100", instrument_id="NEAR", volatility=300.0)
    far = make_leg(mid="200", instrument_id="FAR", side=Side.SELL, ratio="1.5", volatility=300.0)
    request = make_request((near, far), quantity=Decimal(10), price_increment=Decimal("0.01"))
    quote = make_quote("q0", ask=("100.10", "199.90"), quantity="10")
    result = evaluate_quotes(make_inputs(request, (quote,)))
    score = result.quotes[0].sides[0]
    assert [leg.side for leg in score.legs] == ["buy", "sell"]
    assert [leg.cost_micro_bps for leg in score.legs] == [10_000_000, 5_000_000]
    assert score.cost_micro_bps == round((10.0 * 1_000 + 5.0 * 3_000) / 4_000 * 1e6)
    assert score.cost_micro_currency == round((0.10 * 10 + 0.10 * 15) * 1e6)
    assert score.waterfall.total_micro_bps == score.cost_micro_bps
    assert all(leg.fairness_ppm is not None for leg in score.legs)
    assert result.sides[0].gross_notional == "4000.0"
    # a bought and a sold leg hedge each other's noise: less timing risk than the legs alone
    single = evaluate_quotes(make_inputs(make_request((near,)), ()))
    assert result.sides[0].schedules[0].timing_risk_micro_bps < 0.7 * single.sides[0].schedules[0].timing_risk_micro_bps
    sold = evaluate_quotes(
        make_inputs(replace(request, side=RequestSide.SELL), (replace(quote, bid=quote.ask, ask=None),))
    )
    assert [leg.side for leg in sold.quotes[0].sides[0].legs] == ["sell", "buy"]
    assert sold.quotes[0].sides[0].cost_micro_bps == -score.cost_micro_bps


def test_the_best_of_many_is_judged_by_the_best_of_many():
    alone = sides(buy(12_503))["q0"]
    crowd = sides(buy(12_503, 12_504, 12_505, 12_506, 12_507))["q0"]
    assert alone.fairness_best_of_n_ppm == alone.fairness_ppm == crowd.fairness_ppm
    assert crowd.fairness_best_of_n_ppm < alone.fairness_ppm
    # suspiciously cheap for one dealer, not for the best of five
    cheap = [sides(buy(tick, *[12_520] * 4))["q0"] for tick in range(12_495, 12_504)]
    single = [sides(buy(tick))["q0"] for tick in range(12_495, 12_504)]
    assert sum(score.verdict is Verdict.CHEAP for score in cheap) < sum(s.verdict is Verdict.CHEAP for s in single)
    # fair for one dealer, dear as the outcome of an auction
    auction = sides(make_inputs())["q0"]
    assert auction.verdict is Verdict.FAIR
    assert ReasonCode.BEST_OF_PANEL_DEAR in auction.reasons


def test_rivals_share_the_parameters_but_not_their_inventories():
    # were the draws of all dealers independent in everything, the best of five would be P(F ≥ c)^5
    quotes = tuple(make_quote(f"q{i}", ask="1.2503") for i in range(5))
    surer = make_predictions(information=20.0)
    uncertain = replace(surer, information_bps=20.0 + 3.0 * (surer.information_bps - 20.0))
    leg = make_leg(predictions=uncertain)
    quotes = tuple(replace(quote, ask=(Decimal("1.2520"),)) for quote in quotes)
    score = sides(make_inputs(make_request((leg,)), quotes))["q0"]
    assert score.fairness_best_of_n_ppm > 1.3 * (score.fairness_ppm / 1e6) ** 5 * 1e6


def test_expired_quotes_are_scored_but_rank_after_live_ones():
    quotes = (
        make_quote("gone", ask="1.2501", ttl_s=5, received_at_ns=NOW_NS - 5 * NS_PER_S),
        make_quote("near", ask="1.2505"),
        make_quote("far", ask="1.2509"),
    )
    result = evaluate_quotes(make_inputs(quotes=quotes))
    scores = {quote.quote_id: quote.sides[0] for quote in result.quotes}
    assert [scores[name].rank for name in ("near", "far", "gone")] == [1, 2, 3]
    assert not scores["gone"].is_live
    assert ReasonCode.QUOTE_EXPIRED in scores["gone"].reasons
    assert scores["gone"].fairness_ppm > scores["near"].fairness_ppm
    assert scores["near"].cover_distance_micro_bps == 3_200_000
    assert scores["far"].cover_distance_micro_bps is None
    assert scores["far"].distance_to_best_micro_bps == 3_200_000
    accept = result.sides[0].actions[0]
    assert accept.quote_id == "near"


def test_a_longer_life_of_the_quote_is_worth_a_higher_charge():
    quotes = tuple(make_quote(f"q{ttl}", ask="1.2506", ttl_s=ttl) for ttl in (2, 30, 600))
    scores = sides(make_inputs(quotes=quotes))
    assert scores["q2"].fair_median_micro_bps < scores["q30"].fair_median_micro_bps
    assert scores["q30"].fair_median_micro_bps < scores["q600"].fair_median_micro_bps
    option = [scores[name].waterfall.ttl_option_micro_bps for name in ("q2", "q600")]
    assert option[1] / option[0] == pytest.approx(300**0.5, rel=1e-3)


def test_a_quote_for_a_part_is_judged_by_that_part():
    quotes = (make_quote("whole", ask="1.2506"), make_quote("part", ask="1.2506", quantity="1000"))
    scores = sides(make_inputs(make_request((make_leg(permanent=10.0, information=14.0, volume=300_000.0),)), quotes))
    assert scores["part"].fair_median_micro_bps < scores["whole"].fair_median_micro_bps
    assert scores["part"].cost_micro_currency * 4 == scores["whole"].cost_micro_currency
    whole, part = scores["whole"].exceedances, scores["part"].exceedances
    assert set(whole.parameter_ppm) <= {0, 1_000_000}
    assert whole.parameter_ppm == whole.parameter_and_market_ppm
    assert any(0 < chance < 1_000_000 for chance in part.parameter_and_market_ppm)


def test_an_informed_desk_is_not_told_that_every_dealer_is_dear():
    # what the client knows moves the dealers' charge and the cost of working the order alike
    calm = sides(make_inputs())["q0"]
    informed_leg = make_leg(information=24.0)
    informed = sides(make_inputs(make_request((informed_leg,))))["q0"]
    assert informed.fair_median_micro_bps > calm.fair_median_micro_bps + 10_000_000
    assert informed.edge_vs_lit_micro_bps > calm.edge_vs_lit_micro_bps + 5_000_000


def test_information_and_own_impact_are_one_bar_where_they_cannot_be_told_apart():
    leg = make_leg(information=1.0)
    score = sides(make_inputs(make_request((leg,))))["q0"]
    assert not score.waterfall.information_separable
    assert score.waterfall.own_permanent_micro_bps == 0
    assert score.waterfall.information_micro_bps > 0
    assert ReasonCode.INFORMATION_NOT_SEPARABLE in score.reasons


def test_a_fallback_is_labelled():
    leg = make_leg(predictions=replace(make_predictions(), is_fallback=True))
    result = evaluate_quotes(make_inputs(make_request((leg,))))
    assert ReasonCode.PREDICTOR_FALLBACK in result.reasons
    assert all(ReasonCode.PREDICTOR_FALLBACK in quote.sides[0].reasons for quote in result.quotes)
    assert result.models == ("closed_form 1@" + "ab" * 32,)


def test_a_quote_without_the_side_asked_for_is_listed_with_the_reason():
    quotes = (make_quote("bid only", bid="1.2490"), make_quote("q1", ask="1.2506"))
    score = sides(make_inputs(quotes=quotes))["bid only"]
    assert (score.verdict, score.reasons, score.rank) == (Verdict.UNRELIABLE, (ReasonCode.NO_QUOTE,), None)


def test_no_quotes_still_says_what_is_fair():
    summary = evaluate_quotes(make_inputs(quotes=())).sides[0]
    assert 0 < summary.fair_low_micro_bps < summary.fair_median_micro_bps < summary.fair_high_micro_bps
    assert summary.expected_best_micro_bps > summary.fair_low_micro_bps
    assert summary.markout_micro_bps == pytest.approx(4e6, rel=1e-3)
    assert summary.markout_parameter_sd_micro_bps == pytest.approx(0.8e6, rel=0.02)
    assert summary.markout_market_sd_micro_bps == pytest.approx(250e6 * (60 / 86_400) ** 0.5, rel=1e-3)


def test_the_order_of_the_quotes_does_not_matter():
    quotes = tuple(make_quote(f"q{i}", ask=ask) for i, ask in enumerate(ASKS))
    forward, backward = make_inputs(quotes=quotes), make_inputs(quotes=quotes[::-1])
    assert sides(forward) == sides(backward)
    assert evaluate_quotes(forward).sides == evaluate_quotes(backward).sides


def test_scores_do_not_depend_on_what_was_scored_before():
    first = evaluate_quotes(make_inputs())
    evaluate_quotes(make_inputs(parameters=EvaluationParameters(inventory_sd=2.0), seed=8))
    assert evaluate_quotes(make_inputs()) == first
    assert astuple(first) != astuple(evaluate_quotes(make_inputs(seed=8)))


def test_after_the_warm_up_no_request_draws_a_panel():
    predictions = make_predictions(draws=96)
    warm_up(EvaluationParameters(), 11, 96, DURATIONS_S, predictions.horizon_s)
    drawn = draw_panel.cache_info().misses
    leg = make_leg(predictions=predictions)
    for dealers in (1, 2, 5, 20):
        quotes = tuple(make_quote(f"q{i}", ask="1.2506") for i in range(dealers))
        evaluate_quotes(make_inputs(make_request((leg,), pending_dealers=dealers), quotes, seed=11))
    assert draw_panel.cache_info().misses == drawn


def test_quotes_of_one_price_rank_by_arrival():
    quotes = (make_quote("late", ask="1.2506"), make_quote("early", ask="1.2506", received_at_ns=NOW_NS - 2 * NS_PER_S))
    scores = sides(make_inputs(quotes=quotes))
    assert (scores["early"].rank, scores["late"].rank) == (1, 2)


def test_draw_counts_other_than_the_usual_work():
    leg = make_leg(predictions=make_predictions(draws=64))
    score = sides(make_inputs(make_request((leg,))))["q0"]
    assert 0 < score.fairness_ppm < 1_000_000
    assert np.isclose(score.fair_median_micro_bps, sides(make_inputs())["q0"].fair_median_micro_bps, rtol=0.2)
