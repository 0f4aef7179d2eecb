"""Labels on small books whose answers are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models import labels
from models.metaorders import square_root_prefactor, synthetic_metaorders
from models.microprice import fit_microprice_weight

BOOK = labels.BookPath(np.array([0, 100, 200, 300, 1_200]), np.array([100.0, 101.0, 102.0, 101.0, 103.0]))


def orders_at(time_ms, sign, notional=None):
    size = np.ones(len(time_ms)) if notional is None else np.asarray(notional, np.float64)
    return labels.AggressiveOrders(np.array(time_ms), np.array(sign, np.float64), size, np.full(len(time_ms), 100.5))


def test_fills_of_one_millisecond_and_side_are_one_order():
    orders = labels.aggressive_orders(
        np.array([10, 10, 10, 11, 11]),
        np.array([1.0, 1.0, -1.0, -1.0, -1.0]),
        np.array([100.0, 102.0, 99.0, 98.0, 98.0]),
        np.array([100.0, 204.0, 99.0, 98.0, 196.0]),
    )
    assert orders.time_ms.tolist() == [10, 10, 11]
    assert orders.sign.tolist() == [1.0, -1.0, -1.0]
    assert orders.notional == pytest.approx([304.0, 99.0, 294.0])
    assert orders.price == pytest.approx([304.0 / 3.0, 99.0, 98.0])


def test_reference_is_the_book_strictly_before_the_order():
    # the book of the order's own millisecond may already show what the order did
    assert BOOK.mid_before(np.array([100])) == pytest.approx([100.0])
    assert BOOK.mid_before(np.array([101])) == pytest.approx([101.0])


def test_markout_is_signed_and_unknown_beyond_the_end():
    moves = labels.markout_bps(orders_at([100, 100, 500], [1, -1, 1]), BOOK, 1.0)
    assert moves[:2] == pytest.approx([100.0, -100.0])
    assert np.isnan(moves[2])


def test_immediate_move_is_to_the_first_book_after():
    assert labels.immediate_bps(orders_at([100], [1]), BOOK) == pytest.approx([200.0])
    assert np.isnan(labels.immediate_bps(orders_at([1_200], [1]), BOOK)).all()


def test_effective_half_spread_is_paid_over_the_mid_before():
    assert labels.effective_half_spread_bps(orders_at([100], [1]), BOOK) == pytest.approx([50.0])


def test_deciles_are_equally_full_and_ties_are_ranked_as_they_come():
    assert labels.size_deciles(np.arange(100.0, 0.0, -1.0)).tolist() == [9 - k // 10 for k in range(100)]
    assert labels.size_deciles(np.ones(50)).tolist() == [k // 5 for k in range(50)]


def test_random_signs_are_fair_and_repeatable():
    signs = labels.random_signs(10_000, 3)
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.04
    assert np.array_equal(signs, labels.random_signs(10_000, 3))


def test_volatility_of_a_random_walk_is_recovered():
    steps = np.random.default_rng(1).normal(0.0, 300e-4 / np.sqrt(86_400.0), 86_400)
    book = labels.BookPath(np.arange(86_401) * 1_000, 100.0 * np.exp(np.r_[0.0, np.cumsum(steps)]))
    assert labels.volatility_bps_sqrt_day(book) == pytest.approx(300.0, rel=0.03)


def test_time_weighted_mean_holds_each_value_until_the_next():
    assert labels.time_weighted_mean(np.array([0, 10, 40]), np.array([1.0, 5.0, 99.0])) == pytest.approx(4.0)


def test_one_traders_runs_become_metaorders():
    orders = orders_at([50, 150, 250, 350], [1, 1, -1, -1], [1.0, 2.0, 3.0, 4.0])
    start, notional, impact = synthetic_metaorders(orders, BOOK, 1, np.random.default_rng(0))
    assert start.tolist() == [50.0, 250.0]
    assert notional.tolist() == [3.0, 7.0]
    assert impact == pytest.approx([np.log(102.0 / 100.0) * 1e4, -np.log(103.0 / 102.0) * 1e4])


def test_square_root_prefactor_is_recovered():
    generator = np.random.default_rng(2)
    notional = generator.lognormal(0.0, 2.0, 20_000)
    shape = 300.0 * (notional / 1e6) ** 0.489
    impact = 0.8 * shape + generator.normal(0.0, 1.0, 20_000) * np.sqrt(notional)
    assert square_root_prefactor(notional, impact, 300.0, 1e6, 0.489) == pytest.approx(0.8, abs=0.05)


def test_microprice_weight_is_recovered_and_a_useless_one_gains_nothing():
    generator = np.random.default_rng(3)
    count = 5_000
    imbalance = generator.uniform(-1.0, 1.0, count)
    moves = 0.2 * imbalance * 5.0 + generator.normal(0.0, 1.0, count)
    # each book holds for 10 s; its imbalance moves the next mid
    book = labels.BookPath(np.arange(count) * 10_000, 100.0 * np.exp(np.r_[0.0, np.cumsum(moves[:-1])] * 1e-4))
    spread = np.full(count, 5.0)
    fit = fit_microprice_weight(book, imbalance, spread, 0.6)
    assert fit.weight == pytest.approx(0.2, abs=4.0 * fit.standard_error)
    assert fit.standard_error < 0.02
    assert fit.gain_on_mid_percent > 10.0 > fit.gain_of_unit_weight_percent
    noise = fit_microprice_weight(book, generator.uniform(-1.0, 1.0, count), spread, 0.6)
    assert abs(noise.weight) < 4.0 * noise.standard_error
    assert noise.gain_on_mid_percent < 1.0
