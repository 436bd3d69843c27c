from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rows import make_row
from scipy.stats import beta, t

from longctx.statistics import Scores, estimate_means, length_differences, length_estimates, run_differences
from longctx.statistics.bootstrap import MIN_TRIALS, Values, design_effect

LENGTHS, DEPTHS = (1024, 2048), (0.0, 0.5, 1.0)


def scores(values: Values) -> Scores:
    return Scores(tuple(1024 * 2**i for i in range(values.shape[1])), tuple(map(float, range(values.shape[2]))), values)


def column(num_right: int, num_wrong: int, trials: int = 1) -> Values:
    """One length, every sample in a trial of its own or all in so many."""
    return np.array([1.0] * num_right + [0.0] * num_wrong).reshape(trials if trials > 1 else -1, 1, 1)


def test_rows_become_scores_by_trial_length_and_depth() -> None:
    rows = [
        make_row(length=2048, depth=0.5, trial=1, score=0.5),
        make_row(length=1024, depth=1.0, trial=0, score=1.0, strict_score=0.0),
        make_row(length=1024, depth=0.0, trial=0, score=None, status="oom", error="no room", near_miss=None),
        make_row(length=0, depth=0.0, trial=0, control="short"),
    ]
    right = Scores.from_rows(rows, LENGTHS[::-1], DEPTHS, 2)
    assert right.lengths == LENGTHS
    assert (right.num_trials, right.num_samples) == (2, 6)
    assert right.values[1, 1, 1] == 0.0  # half a score is not right
    assert right.values[0, 0, 2] == 1.0
    assert np.isnan(right.values).sum() == 10
    assert Scores.from_rows(rows, LENGTHS, DEPTHS, 2, "score").values[1, 1, 1] == 0.5
    strict = Scores.from_rows(rows, LENGTHS, DEPTHS, 2, "strict")
    assert strict.values[0, 0, 2] == 0.0
    assert np.isnan(strict.values[1, 1, 1])


@pytest.mark.parametrize("changes", [{"length": 4096}, {"depth": 0.25}, {"trial": 2}])
def test_a_row_that_is_not_on_the_grid_is_an_error(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not on the grid"):
        Scores.from_rows([make_row(**changes)], LENGTHS, DEPTHS, 2)


def test_scores_must_fit_their_grid() -> None:
    with pytest.raises(ValueError, match="shape"):
        Scores(LENGTHS, DEPTHS, np.zeros((2, 3, 2)))
    with pytest.raises(ValueError, match="ascend"):
        Scores(LENGTHS[::-1], DEPTHS, np.zeros((2, 2, 3)))


@pytest.mark.parametrize(("right", "num"), [(4, 9), (9, 9), (0, 9), (1, 9)])
def test_few_independent_samples_have_the_interval_of_clopper_and_pearson(right: int, num: int) -> None:
    (found,) = estimate_means(column(right, num - right))
    assert found is not None
    assert found.value == right / num
    assert (found.num, found.num_trials, found.effective_num) == (num, num, num)
    assert found.interval.low == pytest.approx(beta.ppf(0.025, right, num - right + 1) if right else 0.0, abs=0.02)
    assert found.interval.high == pytest.approx(
        beta.ppf(0.975, right + 1, num - right) if right < num else 1.0, abs=0.02
    )


def test_many_trials_have_the_interval_of_student() -> None:
    values = np.random.default_rng(1).uniform(0.2, 0.8, (40, 1, 1))
    (found,) = estimate_means(values)
    assert found is not None
    half = t.ppf(0.975, 39) * values.std(ddof=1) / math.sqrt(40)
    # One more sample of the worst kind, and of the best, widens it a little.
    assert found.interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.interval.high == pytest.approx(values.mean() + half, abs=0.02)
    assert found.interval.low < values.mean() - 0.9 * half


@pytest.mark.parametrize("num_trials", [4, MIN_TRIALS, 30])
def test_samples_of_a_trial_that_are_all_alike_count_once(num_trials: int) -> None:
    per_trial = np.array([float(i % 2) for i in range(num_trials)])
    alike = np.repeat(per_trial, 5).reshape(num_trials, 1, 5)
    (clustered,), (single,) = estimate_means(alike), estimate_means(per_trial.reshape(-1, 1, 1))
    assert clustered is not None
    assert single is not None
    assert clustered.num == 5 * num_trials
    # As many as trials, but for the corrections of two variances that are estimated.
    assert clustered.effective_num == pytest.approx((num_trials - 1) * clustered.num / (clustered.num - 1))
    assert clustered.interval.low == pytest.approx(single.interval.low, abs=0.05)
    assert clustered.interval.high == pytest.approx(single.interval.high, abs=0.05)


def test_the_design_effect_is_kishs() -> None:
    """Scores that share half of their variance within a trial of five: 1 + 4 x 0.5 = 3."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20_000, 1, 1)) + rng.normal(size=(20_000, 1, 5))
    assert design_effect(values) == pytest.approx(3.0, abs=0.1)
    assert design_effect(rng.normal(size=(20_000, 1, 5))) == pytest.approx(1.0, abs=0.1)
    assert design_effect(np.ones((5, 2, 3))) == 1.0
    assert design_effect(np.random.default_rng(0).random((1, 2, 3))) == 1.0  # one trial tells nothing of it


@given(arrays(float, (5, 3, 2), elements=st.sampled_from([0.0, 1.0, math.nan])), st.sampled_from([0.8, 0.95]))
def test_intervals_hold_their_estimates_and_grow_with_confidence(values: Values, confidence: float) -> None:
    for found, wider in zip(
        estimate_means(values, confidence=confidence), estimate_means(values, confidence=0.99), strict=True
    ):
        if found is None or wider is None:
            continue
        assert 0.0 <= wider.interval.low <= found.interval.low <= found.value + 1e-9
        assert found.value - 1e-9 <= found.interval.high <= wider.interval.high <= 1.0
        assert found.effective_num <= found.num


def test_nothing_scored_is_no_estimate() -> None:
    values = np.stack([np.ones((3, 2)), np.full((3, 2), math.nan)], axis=1)
    assert [found is None for found in length_estimates(scores(values))] == [False, True]


def test_lengths_are_compared_in_pairs() -> None:
    """Most trials are right at both or wrong at both: in pairs the small drop is clear, unpaired it would not be."""
    first = np.tile([1.0, 1.0, 0.0, 1.0], 30)
    second = first.copy()
    second[np.flatnonzero(first)[:8]] = 0.0
    values = np.stack([first, second], axis=1).reshape(-1, 2, 1)
    (found,) = length_differences(scores(values))
    assert (found.first, found.second) == (1024, 2048)
    assert found.estimate.value == pytest.approx(second.mean() - first.mean())
    assert found.significant
    assert found.estimate.interval.high < -0.01
    one, other = (estimate for estimate in length_estimates(scores(values)) if estimate is not None)
    assert other.interval.high > one.interval.low


def test_equal_lengths_differ_by_nothing_but_not_for_certain() -> None:
    (found,) = length_differences(scores(np.ones((15, 2, 1))))
    assert found.estimate.value == 0.0
    assert not found.significant
    assert found.estimate.interval.low < -0.1
    assert found.estimate.interval.high > 0.1


def test_differences_are_against_the_shortest_or_the_one_before() -> None:
    values = np.array([1.0, 0.5, 0.25]).reshape(1, 3, 1).repeat(20, axis=0)
    shortest = length_differences(scores(values))
    previous = length_differences(scores(values), "previous")
    assert [(d.first, d.second, d.estimate.value) for d in shortest] == [(1024, 2048, -0.5), (1024, 4096, -0.75)]
    assert [(d.first, d.second, d.estimate.value) for d in previous] == [(1024, 2048, -0.5), (2048, 4096, -0.25)]


def test_a_pair_with_a_failed_half_does_not_count() -> None:
    values = np.ones((10, 2, 1))
    values[0, 0] = values[1, 1] = math.nan
    (found,) = length_differences(scores(values))
    assert found.estimate.num == 8
    values[:, 1] = math.nan
    assert length_differences(scores(values)) == ()


def test_a_single_length_differs_from_no_other() -> None:
    for num_trials in (1, 3, 12):
        assert length_differences(scores(np.ones((num_trials, 1, 5)))) == ()


def test_runs_are_compared_where_they_overlap() -> None:
    first = Scores((1024, 2048), (0.0, 0.5), np.ones((20, 2, 2)))
    values = np.ones((12, 2, 3))
    values[:, 0, 2] = 0.0  # at depth 0.5 of 2,048
    second = Scores((2048, 4096), (0.0, 1.0, 0.5), values)
    (found,) = run_differences(first, second, ("A", "B"))
    assert (found.first, found.second, found.length) == ("A", "B", 2048)
    assert (found.estimate.value, found.estimate.num) == (-0.5, 24)
    assert found.significant
    with pytest.raises(ValueError, match="in common"):
        run_differences(first, Scores((8192,), (0.0,), np.ones((1, 1, 1))), ("A", "B"))
