"""Cells that are worse than the rest of their length, and whether a curve only falls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import fisher_exact

from longctx.statistics import Scores, check_monotone, worse_cells
from longctx.statistics.bootstrap import Values


def scores(values: Values) -> Scores:
    return Scores(tuple(1024 * 2**i for i in range(values.shape[1])), tuple(map(float, range(values.shape[2]))), values)


def test_the_p_value_is_fishers() -> None:
    values = np.ones((6, 1, 4))
    values[:4, 0, 2] = 0.0
    values[0, 0, 1] = 0.0
    found = worse_cells(scores(values))
    table = [[2, 4], [17, 1]]  # right and wrong: in the cell, at the other depths
    assert found[2].p_value == pytest.approx(fisher_exact(table, alternative="less").pvalue)
    assert (found[2].num_right, found[2].num_scored) == (2, 6)
    # Benjamini and Hochberg by hand: the least of four p-values counts four times.
    assert found[2].adjusted_p_value == pytest.approx(4 * found[2].p_value)
    assert [cell.worse for cell in found] == [False, False, True, False]


def test_a_bad_length_has_no_worse_cell() -> None:
    """Every depth of the second length is equally bad: it is the length, not a cell."""
    values = np.ones((10, 2, 5))
    values[:7, 1] = 0.0
    assert not any(cell.worse for cell in worse_cells(scores(values)))


def test_unscored_samples_do_not_count() -> None:
    values = np.ones((10, 1, 3))
    values[:, 0, 0] = 0.0
    values[5:, 0, 1] = np.nan
    values[:, 0, 2] = np.nan
    first, second = worse_cells(scores(values))
    assert (first.num_scored, second.num_scored) == (10, 5)
    assert first.worse
    assert worse_cells(scores(np.full((2, 1, 1), np.nan))) == ()


def test_of_many_equal_cells_hardly_one_is_called_worse() -> None:
    """Without the correction about one cell of twenty would be; with it one grid of twenty has any."""
    rng = np.random.default_rng(0)
    grids = [worse_cells(scores((rng.random((20, 8, 10)) < 0.7).astype(float))) for _ in range(60)]
    assert sum(any(cell.worse for cell in grid) for grid in grids) <= 6
    assert sum(cell.p_value <= 0.05 for grid in grids for cell in grid) > 60


def column(num_right: list[int], num: int = 60) -> Scores:
    values = np.array([[i < right for right in num_right] for i in range(num)], dtype=float)
    return scores(np.random.default_rng(0).permuted(values, axis=0)[:, :, None])


def test_a_falling_curve_is_its_own_fit() -> None:
    found = check_monotone(column([60, 54, 30, 6]))
    assert found.p_value == pytest.approx(1.0, abs=0.01)
    assert found.fit == pytest.approx((1.0, 0.9, 0.5, 0.1))
    assert found.lengths == (1024, 2048, 4096, 8192)


def test_a_small_rise_is_levelled() -> None:
    found = check_monotone(column([60, 42, 45, 6]))
    assert found.p_value > 0.05
    assert found.fit is not None
    assert found.fit[1] == found.fit[2]
    assert 42 / 60 < found.fit[1] < 45 / 60


def test_a_dip_is_not_fitted() -> None:
    found = check_monotone(column([60, 20, 58, 55]))
    assert found.p_value < 0.01
    assert found.fit is None


def test_equal_lengths_are_seldom_refuted() -> None:
    rng = np.random.default_rng(1)
    refuted = [check_monotone(scores((rng.random((20, 5, 4)) < 0.9).astype(float))).fit is None for _ in range(20)]
    assert sum(refuted) <= 3


def test_a_length_without_scores_is_left_out() -> None:
    some = column([60, 30, 6])
    some.values[:, 1] = np.nan
    assert check_monotone(some).lengths == (1024, 4096)
    some.values[:] = np.nan
    with pytest.raises(ValueError, match="no scores"):
        check_monotone(some)
