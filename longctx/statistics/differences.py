"""Differences between lengths, and between runs, over pairs of samples that differ in nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from longctx.statistics.bootstrap import Values, estimate_means
from longctx.statistics.intervals import Estimate
from longctx.statistics.scores import Scores


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better the second is: positive if its accuracy is higher."""

    first: str | int
    """A length in tokens, or a run's name."""
    second: str | int
    length: int
    """At which runs are compared; of lengths the second."""
    estimate: Estimate

    @property
    def significant(self) -> bool:
        """The interval leaves out zero. One by one: not corrected for the number of differences looked at."""
        return self.estimate.interval.low > 0.0 or self.estimate.interval.high < 0.0


def length_differences(
    scores: Scores, against: Literal["shortest", "previous"] = "shortest", confidence: float = 0.95
) -> tuple[Difference, ...]:
    """Accuracy at every longer length less that at the shortest, or at the one before it.

    Paired: a trial asks the same at every length and depth, so only pairs of which both are scored count. Lengths
    without any pair are left out; of a single length there is none.
    """
    values = scores.values
    base = values[:, :1] if against == "shortest" else values[:, :-1]
    firsts = [scores.lengths[0]] * (len(scores.lengths) - 1) if against == "shortest" else scores.lengths[:-1]
    found = estimate_means(values[:, 1:] - base, -1.0, 1.0, confidence)
    return tuple(
        Difference(first, second, second, estimate)
        for first, second, estimate in zip(firsts, scores.lengths[1:], found, strict=True)
        if estimate is not None
    )


def run_differences(
    first: Scores, second: Scores, names: tuple[str, str], confidence: float = 0.95
) -> tuple[Difference, ...]:
    """Accuracy of the second run less that of the first, at every length that both have, paired by depth and trial.

    The pairs must be of one prompt each, or of one trial's facts: the same task, seed and haystack. Raises ValueError
    if no length or depth is common.
    """
    lengths = sorted(set(first.lengths) & set(second.lengths))
    depths = [depth for depth in first.depths if depth in second.depths]
    if not lengths or not depths:
        raise ValueError("the runs have no length or no depth in common")
    num_trials = min(first.num_trials, second.num_trials)
    one, other = (_pick(scores, num_trials, lengths, depths) for scores in (first, second))
    found = estimate_means(other - one, -1.0, 1.0, confidence)
    return tuple(
        Difference(*names, length, estimate)
        for length, estimate in zip(lengths, found, strict=True)
        if estimate is not None
    )


def _pick(scores: Scores, num_trials: int, lengths: list[int], depths: list[float]) -> Values:
    at_length, at_depth = map(scores.lengths.index, lengths), map(scores.depths.index, depths)
    return scores.values[np.ix_(range(num_trials), list(at_length), list(at_depth))]
