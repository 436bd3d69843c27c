"""The curves of accuracy by length that an adaptive sweep chooses from.

Logistic in the logarithm of the length, from a ceiling to a floor, with any slope up to a step, and maybe one length at
which accuracy dips. Before any answer, every effective length is as probable as any other.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longctx.statistics.rules import Rule

Floats = NDArray[np.float64]

_PLACES_PER_STEP = 2
"""Where curves fall: so many places between neighbouring lengths."""
_SLOPES = (0.7, 2.0, 8.0)
"""Logits per doubling of the length; the last is a step."""
_CEILINGS = (0.5, 0.7, 0.8, 0.84, 0.87, 0.9, 0.93, 0.96, 0.99)
_FLOORS = (0.01, 0.3)
_DIPS = (0.3, 0.6, 0.85)
"""What is left of the accuracy at a length that dips."""
_DIP_WEIGHT = 0.5
_CORRELATIONS = (0.02, 0.2, 0.5)
"""Between the scores of two samples of a trial."""


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Every curve of the grid, ordered by how many lengths pass."""

    accuracies: Floats
    """Shape (num_curves, num_lengths)."""
    correlations: Floats
    """Between the scores of two samples of a trial, shape (num_curves,)."""
    num_passing: NDArray[np.int64]
    """Lengths that pass the rule, from the shortest on, shape (num_curves,)."""
    prior: Floats
    """Weight before any answer, shape (num_curves,)."""


def make_curves(lengths: Sequence[int], rule: Rule) -> Curves:
    """The grid for lengths in tokens, ascending."""
    smooth = _logistic(np.log2(lengths))
    shapes, weights = [smooth], [1 - _DIP_WEIGHT]
    for index, left in itertools.product(range(len(lengths)), _DIPS):
        dipped = smooth.copy()
        dipped[:, index] *= left
        shapes.append(dipped)
        weights.append(_DIP_WEIGHT / (len(lengths) * len(_DIPS)))
    accuracies = np.tile(np.concatenate(shapes), (len(_CORRELATIONS), 1))
    weight = np.tile(np.repeat(weights, len(smooth)), len(_CORRELATIONS))
    correlations = np.repeat(_CORRELATIONS, len(accuracies) // len(_CORRELATIONS))
    needed = rule.threshold * (accuracies[:, :1] if rule.of_base else 1.0)
    passing = np.cumprod(accuracies >= needed, axis=1).sum(1)
    prior = weight / np.bincount(passing, weight, len(lengths) + 1)[passing]
    order = np.argsort(passing, kind="stable")
    return Curves(accuracies[order], correlations[order], passing[order], prior[order] / prior.sum())


def _logistic(at: Floats) -> Floats:
    """Falling curves at logarithms of lengths, shape (number of parameters, num_lengths)."""
    edges = [at[0] - 1, *at, at[-1] + 1]
    between = [np.linspace(a, b, _PLACES_PER_STEP, endpoint=False) for a, b in itertools.pairwise(edges)]
    places = np.concatenate([*between, edges[-1:]])
    grid = np.array(list(itertools.product(places, _SLOPES, _CEILINGS, _FLOORS)))
    place, slope, ceiling, floor = (column[:, None] for column in grid.T)
    return np.asarray(floor + np.maximum(0.0, ceiling - floor) / (1 + np.exp(-slope * (place - at))))
