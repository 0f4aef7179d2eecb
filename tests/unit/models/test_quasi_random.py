"""Stratified draws: normal marginals, columns that do not move together, the same every time."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from models.quasi_random import standard_normal_draws
from rfq_service.domain.errors import InvariantError


@pytest.mark.parametrize("seed", [0, 7, 20_240_723])
def test_every_column_has_one_draw_in_each_stratum(seed):
    draws = standard_normal_draws(128, 11, seed)
    cdf = np.vectorize(NormalDist().cdf)
    assert (np.sort(np.floor(cdf(draws) * 128), axis=0) == np.arange(128)[:, None]).all()
    assert np.abs(draws.mean(axis=0)).max() < 1e-12
    assert np.abs(draws.std(axis=0) - 1.0).max() < 0.01


def test_columns_do_not_move_together():
    # 55 pairs of 256 draws: sd of a correlation .063, four of them .25
    correlation = np.corrcoef(standard_normal_draws(256, 11, 20_240_723), rowvar=False)
    assert np.abs(correlation - np.eye(11)).max() < 0.25


def test_same_seed_same_draws_and_another_seed_others():
    first = standard_normal_draws(64, 3, 5)
    assert np.array_equal(first, standard_normal_draws(64, 3, 5))
    assert not np.allclose(first, standard_normal_draws(64, 3, 6))


def test_draws_are_pinned_for_replay():
    draws = standard_normal_draws(128, 11, 20_240_723)
    assert draws[0, 0] == pytest.approx(0.9017541138301, rel=1e-9)
    assert draws[127, 10] == pytest.approx(-0.6380555809225169, rel=1e-9)


@pytest.mark.parametrize("arguments", [(0, 3, 1), (3, 0, 1), (3, 3, -1)])
def test_senseless_arguments_are_refused(arguments):
    with pytest.raises(InvariantError):
        standard_normal_draws(*arguments)
