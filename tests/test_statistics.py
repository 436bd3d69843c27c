from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.statistics import LengthResult, effective_length_of_counts, median_interval, wilson


@given(st.integers(1, 500), st.data())
def test_wilson_is_the_textbook_formula(num: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, num))
    z, p = 1.959963984540054, right / num
    centre = (p + z * z / (2 * num)) / (1 + z * z / num)
    half = z / (1 + z * z / num) * math.sqrt(p * (1 - p) / num + z * z / (4 * num * num))
    interval = wilson(right, num)
    assert interval.low == pytest.approx(centre - half, abs=1e-12)
    assert interval.high == pytest.approx(centre + half, abs=1e-12)


def test_wilson_of_the_published_example() -> None:
    interval = wilson(5, 32)  # a score of 15.6 % from 32 questions
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.069, 0.318)


@pytest.mark.parametrize(
    ("num", "first", "last"), [(6, 1, 6), (8, 1, 8), (9, 2, 8), (12, 3, 10), (20, 6, 15), (50, 18, 33)]
)
def test_a_medians_interval_has_the_ranks_of_the_sign_tests_tables(num: int, first: int, last: int) -> None:
    """`first` is the largest rank with P(Binomial(num, 1/2) < first) of at most 2.5 %."""
    values = [rank**3.0 for rank in range(num, 0, -1)]
    interval = median_interval(values)
    assert interval is not None
    assert (interval.low, interval.high) == (first**3.0, last**3.0)


@given(st.integers(1, 120))
def test_a_medians_interval_covers_at_least_95_percent(num: int) -> None:
    """Each value is under the median with probability 1/2, so coverage is a binomial sum."""
    interval = median_interval([float(rank) for rank in range(1, num + 1)])
    if interval is None:
        assert num < 6
        return
    inside = range(int(interval.low), int(interval.high))
    assert sum(math.comb(num, k) for k in inside) / 2**num >= 0.95
    assert sum(math.comb(num, k) for k in inside[1:-1]) / 2**num < 0.95


def results(*counts: tuple[int, int, int]) -> list[LengthResult]:
    """Lengths 1k, 2k, ... from (right, scored, failed)."""
    return [LengthResult(1024 * 2**i, *count) for i, count in enumerate(counts)]


def test_effective_length_is_the_last_before_the_first_failure() -> None:
    found = effective_length_of_counts(results((100, 100, 0), (90, 100, 0), (50, 100, 0), (95, 100, 0)))
    assert found.value == 2048  # the good 8k does not make up for the bad 4k
    assert found.low == 1024  # 90 of 100 has a lower end of 82.6 %
    assert found.high == 2048
    assert found.first_failed is not None
    assert found.first_failed.length == 4096


def test_few_samples_show_nothing_from_below() -> None:
    found = effective_length_of_counts(results((15, 15, 0), (13, 15, 0), (12, 15, 0), (2, 15, 0)))
    assert (found.low, found.value, found.high) == (None, 2048, 4096)


def test_a_length_that_was_not_fully_measured_does_not_pass() -> None:
    found = effective_length_of_counts(results((100, 100, 0), (99, 99, 1)))
    assert (found.value, found.high) == (1024, 1024)
    assert effective_length_of_counts(results((0, 0, 5))).value is None


def test_all_lengths_pass() -> None:
    found = effective_length_of_counts(results((100, 100, 0), (100, 100, 0)))
    assert (found.low, found.value, found.high, found.first_failed) == (2048, 2048, 2048, None)


def test_no_results_is_an_error() -> None:
    with pytest.raises(ValueError, match="no results"):
        effective_length_of_counts([])
