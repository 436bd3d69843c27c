"""Does accuracy only fall with length? A monotone curve is drawn only where that is not refuted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longctx.statistics.bootstrap import design_effect, draw_means
from longctx.statistics.scores import Scores


@dataclass(frozen=True, slots=True)
class Monotone:
    """The test, and the fit that it allows."""

    p_value: float
    """Of rises as large as the measured ones, if accuracy never rises with length."""
    fit: tuple[float, ...] | None
    """Accuracy by length, never rising (isotonic regression); None where the test refutes it."""
    lengths: tuple[int, ...]
    """Those with scores, ascending."""


def check_monotone(scores: Scores, alpha: float = 0.05) -> Monotone:
    """Test that accuracy does not rise from any length to a longer one. Raises ValueError without a score.

    The statistic is the weighted distance of the means from the nearest falling curve (Robertson, Wright and Dykstra
    1988); its distribution is the bootstrap's of errors around that curve.
    """
    kept = [i for i in range(len(scores.lengths)) if not np.isnan(scores.values[:, i]).all()]
    if not kept:
        raise ValueError("no scores")
    values = scores.values[:, kept]
    mask = ~np.isnan(values)
    num = mask.sum((0, 2)).astype(float)
    means = np.where(mask, values, 0.0).sum((0, 2)) / num
    draws = draw_means(values, 0.0, 1.0, design_effect(values))
    # Half a sample of each kind: where all are right or all wrong, errors are not nothing.
    middle = (draws.low + draws.high) / 2
    errors = middle - middle.mean(0)
    weights = 1 / np.maximum(errors.var(0), 1e-12)
    fit = _falling(means, weights)
    measured = _distance(means, weights)
    drawn = np.array([_distance(fit + error, weights) for error in errors[:_NUM_DRAWS]])
    p_value = float((1 + (drawn >= measured - 1e-12).sum()) / (1 + len(drawn)))
    lengths = tuple(scores.lengths[i] for i in kept)
    return Monotone(p_value, tuple(map(float, fit)) if p_value > alpha else None, lengths)


_NUM_DRAWS = 1000


def _falling(means: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.optimize import isotonic_regression  # slow to import

    fit: NDArray[np.float64] = isotonic_regression(means, weights=weights, increasing=False).x
    return fit


def _distance(means: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    return float((weights * (means - _falling(means, weights)) ** 2).sum())
