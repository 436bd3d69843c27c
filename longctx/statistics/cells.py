"""Which cells of a heatmap are worse than the rest of their length: many are looked at, so chance is corrected for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longctx.statistics.scores import Scores


@dataclass(frozen=True, slots=True)
class CellTest:
    """One cell against the other depths of its length."""

    length: int
    depth: float
    num_right: int
    num_scored: int
    p_value: float
    """Of Fisher's exact test, one-sided: so few right by chance, given how many of the length's samples are."""
    adjusted_p_value: float
    """After Benjamini and Hochberg (1995), over all cells of the task."""
    worse: bool
    """The adjusted p-value is at most the rate asked for."""


def worse_cells(scores: Scores, false_discovery_rate: float = 0.05) -> tuple[CellTest, ...]:
    """A test of every cell with a score, by length and depth; only perfect scores count as right.

    Of the cells that are called worse, about this rate are so by chance. Samples of a trial that are alike make the
    test find less, not more. With a single depth there is nothing to compare: no cell is worse.
    """
    from scipy.stats import false_discovery_control, hypergeom  # slow to import

    num = (~np.isnan(scores.values)).sum(0)
    right = (scores.values == 1.0).sum(0)
    of_length, right_of_length = num.sum(1, keepdims=True), right.sum(1, keepdims=True)
    p_values = hypergeom.cdf(right, of_length, right_of_length, num)
    tested = [tuple(index) for index in np.argwhere(num > 0)]
    if not tested:
        return ()
    adjusted = false_discovery_control([p_values[i] for i in tested])
    return tuple(
        CellTest(
            scores.lengths[i],
            scores.depths[j],
            int(right[i, j]),
            int(num[i, j]),
            float(p_values[i, j]),
            float(adjusted[n]),
            bool(adjusted[n] <= false_discovery_rate),
        )
        for n, (i, j) in enumerate(tested)
    )
