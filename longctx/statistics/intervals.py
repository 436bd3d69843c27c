"""What stands beside every figure: its interval, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean of scored samples, or of differences between them."""

    value: float
    interval: Interval
    num: int
    """Samples, or pairs of them."""
    num_trials: int
    """Trials that they come from: the clusters."""
    effective_num: float
    """How many independent samples would tell as much; never more than `num`."""


def wilson(num_right: int, num: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927, through scipy).

    Raises ValueError unless 0 <= num_right <= num and num > 0.
    """
    from scipy.stats import binomtest  # slow to import

    interval = binomtest(num_right, num).proportion_ci(confidence, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Interval of the median between two of the values themselves, whatever their distribution (through scipy).

    It covers the median of what independent values are drawn from at least that often (Conover 1999, 3.2). None for so
    few that not even all of them span one: fewer than 6 at 95 %.
    """
    from scipy.stats import quantile_test  # slow to import

    found = quantile_test(values, p=0.5).confidence_interval(confidence)
    return None if math.isnan(found.low) or math.isnan(found.high) else Interval(float(found.low), float(found.high))
