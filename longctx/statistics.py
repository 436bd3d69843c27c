"""Intervals and the rule that turns a curve into one effective length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RULER_THRESHOLD = 0.856
"""Llama-2-7B-chat at 4k, the bar of RULER (Hsieh et al. 2024, arXiv 2404.06654)."""


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


def wilson(num_right: int, num: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927, through scipy).

    Raises ValueError unless 0 <= num_right <= num and num > 0.
    """
    from scipy.stats import binomtest  # slow to import

    interval = binomtest(num_right, num).proportion_ci(confidence, method="wilson")
    return Interval(float(interval.low), float(interval.high))


@dataclass(frozen=True, slots=True)
class LengthResult:
    """All samples of one context length. `num_failed` have no score."""

    length: int
    num_right: int
    num_scored: int
    num_failed: int = 0

    @property
    def accuracy(self) -> float | None:
        return self.num_right / self.num_scored if self.num_scored else None

    def interval(self) -> Interval | None:
        return wilson(self.num_right, self.num_scored) if self.num_scored else None


@dataclass(frozen=True, slots=True)
class EffectiveLength:
    """The longest tested length that passes the rule together with every shorter one; None: not even the shortest.

    `low` counts a length as passed only if its interval lies wholly above the threshold, `high` if any of it does:
    what was measured does not contradict an effective length between the two.
    """

    threshold: float
    value: int | None
    low: int | None
    high: int | None
    first_failed: LengthResult | None
    """The length at which the rule stopped, for its samples."""


def effective_length(results: Sequence[LengthResult], threshold: float = RULER_THRESHOLD) -> EffectiveLength:
    """Apply the rule "accuracy >= threshold there and at every shorter tested length".

    A length with an unscored sample does not pass: it was not measured. Raises ValueError without results.
    """
    if not results:
        raise ValueError("no results")
    ordered = sorted(results, key=lambda result: result.length)

    def longest(bounds: list[float]) -> int:
        """How many lengths pass, from the shortest on."""
        passes = [bound >= threshold and not r.num_failed for bound, r in zip(bounds, ordered, strict=True)]
        return passes.index(False) if False in passes else len(passes)

    intervals = [r.interval() or Interval(-1.0, -1.0) for r in ordered]
    counts = [
        longest([-1.0 if r.accuracy is None else r.accuracy for r in ordered]),
        longest([i.low for i in intervals]),
        longest([i.high for i in intervals]),
    ]
    value, low, high = (ordered[count - 1].length if count else None for count in counts)
    failed = ordered[counts[0]] if counts[0] < len(ordered) else None
    return EffectiveLength(threshold, value, low, high, failed)


def trials_needed(threshold: float = RULER_THRESHOLD) -> int:
    """Fewest samples, all right, whose Wilson interval lies above the threshold.

    For n of n the lower end is n / (n + z^2).
    """
    z = 1.959963984540054
    return int(-(-threshold * z * z // (1 - threshold)))
