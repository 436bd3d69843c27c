"""Means over several cells: a bootstrap whose clusters are trials.

Weights are drawn instead of samples (Bayesian bootstrap, Rubin 1981). Two things are added, because sweeps have few
trials and scores near 0 or 1. Each end of an interval is computed with one more effective sample of the worst, or the
best, kind, as the interval of Clopper and Pearson does: 15 of 15 right is no certainty. And whole trials are weighed
only where there are enough of them; otherwise samples are, as many as would be independent. Their number, the
effective n, is n over the design effect (Kish 1965): the variance between trials over that of independent samples.
`scripts/bench-statistics` measures what the intervals cover.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from longctx.statistics.intervals import Estimate, Interval
from longctx.statistics.scores import Scores

Values = NDArray[np.float64]
"""Shape (num_trials, num_groups, num_items), NaN where there is none. A group is what a mean is taken of."""

_TINY = 1e-300
NUM_DRAWS = 2000
MIN_TRIALS = 10
"""From so many trials on, in every group, whole trials are resampled."""


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Means by draw and group, shape (num_draws, num_groups): with one more sample of the worst kind, or the best."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def interval(self, tail_low: float, tail_high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Ends by group, with so much probability left out below and above."""
        return np.quantile(self.low, tail_low, axis=0), np.quantile(self.high, 1 - tail_high, axis=0)


def design_effect(values: Values) -> float:
    """The variance of the groups' means, over what independent samples would give; at least 1, pooled over groups.

    1.0 where nothing varies, or with a single trial: then nothing is known of it.
    """
    mask = ~np.isnan(values)
    num, num_trials = mask.sum((0, 2)), mask.any(2).sum(0)
    known = (num > 1) & (num_trials > 1)
    if not known.any():
        return 1.0
    errors = np.where(mask, values - _means(values)[None, :, None], 0.0)[:, known]
    num, num_trials = num[known], num_trials[known]
    between = (errors.sum(2) ** 2).sum(0) * num_trials / (num_trials - 1)
    independent = (errors**2).sum((0, 2)) * num / (num - 1)
    total = independent.sum()
    return max(1.0, float(between.sum() / total)) if total > 0 else 1.0


def draw_means(values: Values, least: float, most: float, effect: float) -> Draws:
    """The bootstrap of all groups together: a draw weighs a trial, or a sample of one, the same in every group.

    Values lie between `least` and `most`; `effect` is their design effect. The draws are the same in every call.
    """
    mask = ~np.isnan(values)
    num_trials, num_groups, num_items = values.shape
    filled, one = np.where(mask, values, 0.0), _gammas(num_groups, 1.0, 1)
    per_group = mask.any(2).sum(0)
    if per_group.max(initial=0) and per_group[per_group > 0].min() >= MIN_TRIALS:
        sums, counts = filled.sum(2), mask.sum(2).astype(float)
        weights = _gammas(num_trials, _trial_concentration(num_trials), 0)
        total, weight = weights @ sums, weights @ counts
        # One effective sample weighs its share of what all of this draw weigh.
        extra = one * weight * effect / np.maximum(1, counts.sum(0))
    else:
        num = num_trials * num_items
        sums = filled.transpose(0, 2, 1).reshape(num, num_groups)
        counts = mask.transpose(0, 2, 1).reshape(num, num_groups).astype(float)
        weights = _gammas(num, round(1 / effect, 3), 0)
        total, weight, extra = weights @ sums, weights @ counts, one
    both = np.maximum(weight + extra, _TINY)
    return Draws((total + extra * least) / both, (total + extra * most) / both)


def estimate_means(
    values: Values, least: float = 0.0, most: float = 1.0, confidence: float = 0.95
) -> tuple[Estimate | None, ...]:
    """The mean of each group with its interval; None for a group without a value."""
    effect, tail = design_effect(values), (1 - confidence) / 2
    low, high = draw_means(values, least, most, effect).interval(tail, tail)
    mask = ~np.isnan(values)
    num, num_trials, means = mask.sum((0, 2)), mask.any(2).sum(0), _means(values)
    return tuple(
        Estimate(
            float(means[i]),
            Interval(float(low[i]), float(high[i])),
            int(num[i]),
            int(num_trials[i]),
            float(num[i] / effect),
        )
        if num[i]
        else None
        for i in range(len(num))
    )


def length_estimates(scores: Scores, confidence: float = 0.95) -> tuple[Estimate | None, ...]:
    """Accuracy at every length, over all its depths; None where nothing was scored."""
    return estimate_means(scores.values, confidence=confidence)


def _means(values: Values) -> NDArray[np.float64]:
    mask = ~np.isnan(values)
    means: NDArray[np.float64] = np.where(mask, values, 0.0).sum((0, 2)) / np.maximum(1, mask.sum((0, 2)))
    return means


def _trial_concentration(num_trials: int) -> float:
    """Of the Dirichlet weights of trials, such that a mean varies as Student's t interval has it.

    The variance of a weighted mean is s2 / (k a + 1) with s2 over k; the t interval's is s2 / (k - 1) times (t / z)^2.
    """
    from scipy.stats import norm, t

    ratio = float(t.ppf(0.975, num_trials - 1) / norm.ppf(0.975))
    return ((num_trials - 1) / ratio**2 - 1) / num_trials


@lru_cache(maxsize=16)
def _gammas(num: int, concentration: float, stream: int) -> NDArray[np.float64]:
    """Shape (NUM_DRAWS, num)."""
    return np.random.default_rng([0, stream]).gamma(concentration, size=(NUM_DRAWS, num))
