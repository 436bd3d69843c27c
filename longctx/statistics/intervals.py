"""What stands beside every figure: its interval, and what it rests on."""

from __future__ import annotations

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
