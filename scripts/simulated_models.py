"""Models that are nothing but a known accuracy for every cell: what intervals have to contain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longctx.statistics.rules import RULER_THRESHOLD, Rule

Floats = NDArray[np.float64]

KINDS = ("logistic", "step", "dip", "flat")
SPREADS = (0.0, 0.5, 1.0, 2.0)
"""Standard deviations, in logits, of what a trial adds to all its samples; 2.0 correlates them by about 0.4."""
_DEPTH_SPREAD = 0.3
_LEAST = 0.002
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(31)


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedModel:
    kind: str
    spread: float
    logits: Floats
    """Of an average trial, shape (num_lengths, num_depths)."""

    @property
    def truth(self) -> Floats:
        """Accuracy of every cell over all trials, shape (num_lengths, num_depths)."""
        return np.asarray(_sigmoid(self.logits[..., None] + self.spread * _NODES) @ (_WEIGHTS / _WEIGHTS.sum()))

    def answers(self, num_trials: int, rng: np.random.Generator) -> Floats:
        """1.0 for right, else 0.0, shape (num_trials, num_lengths, num_depths)."""
        effects = self.spread * rng.standard_normal(num_trials)
        chances = _sigmoid(self.logits + effects[:, None, None])
        return (rng.random(chances.shape) < chances).astype(float)

    def num_passing(self, rule: Rule) -> int:
        """How many lengths, from the shortest on, pass the rule in truth."""
        truth = self.truth
        if rule.every_depth:
            passes = (truth >= rule.threshold).all(1)
        else:
            means = truth.mean(1)
            passes = means >= rule.threshold * (means[0] if rule.of_base else 1.0)
        return int(np.cumprod(passes).sum())


def _sigmoid(x: NDArray[np.floating[Any]]) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


def draw_model(kind: str, num_lengths: int, num_depths: int, rng: np.random.Generator) -> SimulatedModel:
    """A model of one kind, everything else by chance. `close` is flat, within three points of RULER's threshold."""
    at = np.arange(num_lengths)
    ceiling, place = rng.choice([1.0, 0.99, 0.97, 0.93]), rng.uniform(-1, num_lengths)
    if kind == "logistic":
        curve = ceiling * _sigmoid((place - at) * rng.uniform(0.7, 3.0))
    elif kind == "step":
        curve = np.where(at < place, ceiling, rng.uniform(0.0, 0.7))
    elif kind == "dip":
        curve = np.where(at == rng.integers(num_lengths), rng.uniform(0.2, 0.8), ceiling)
    elif kind == "flat":
        curve = np.full(num_lengths, rng.uniform(0.5, 1.0))
    else:
        curve = np.full(num_lengths, RULER_THRESHOLD + rng.uniform(-0.03, 0.03))
    curve = np.clip(curve, _LEAST, 1 - _LEAST)
    depths = rng.normal(0.0, _DEPTH_SPREAD, num_depths)
    spread = float(rng.choice(SPREADS))
    # What a trial adds pulls accuracies towards one half; logits are stretched against it, as the probit's are.
    logits = np.log(curve / (1 - curve)) * np.sqrt(1 + 0.346 * spread**2)
    return SimulatedModel(kind, spread, logits[:, None] + depths)
