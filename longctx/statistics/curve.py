"""A curve of accuracy by length, fitted to the answers of an adaptive sweep, and where to ask next.

Raw rates of a design that follows its own answers are biased, so a family of curves is fitted instead, on a grid of
parameters as QUEST+ does (Watson 2017): logistic in the logarithm of the length, from a ceiling to a floor, with any
slope up to a step, and maybe one length at which it dips. The samples of a trial may be alike: their number right is
beta-binomial. Before any answer, every effective length is as probable as any other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from longctx.errors import ConfigError
from longctx.statistics.effective import EffectiveLength
from longctx.statistics.intervals import Interval
from longctx.statistics.rules import Rule
from longctx.statistics.scores import Scores

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

_NEGLIGIBLE = 1e-9
"""Weight of a curve that is left out when the next length is chosen."""

Outcome = tuple[int, int, int]
"""Index of a length, samples scored in one trial there, of them right."""


@dataclass(frozen=True, slots=True)
class FittedCurve:
    """What the answers of an adaptive sweep say."""

    lengths: tuple[int, ...]
    accuracies: tuple[float, ...]
    """Posterior means by length."""
    intervals: tuple[Interval, ...]
    """Of these, with 95 % of the posterior."""
    num_scored: tuple[int, ...]
    """Samples by length; most lengths have few, some none."""
    effective: EffectiveLength
    """Value: the posterior's median; low to high: 95 % of it."""
    probabilities: tuple[float, ...]
    """Of "not reached", then of each length being the effective one."""


@dataclass(frozen=True)
class CurveFamily:
    """All curves of the grid, for lengths (ascending, in tokens), a rule, and samples in a trial at a length."""

    lengths: tuple[int, ...]
    rule: Rule
    num_items: int

    @cached_property
    def _states(self) -> tuple[Floats, Floats, NDArray[np.int64], Floats]:
        """By curve: accuracies (num, num_lengths), correlation, how many lengths pass, prior; sorted by what passes."""
        at = np.log2(self.lengths)
        edges = np.concatenate([[at[0] - 1], at, [at[-1] + 1]])
        places = np.concatenate(
            [np.linspace(a, b, _PLACES_PER_STEP, endpoint=False) for a, b in itertools.pairwise(edges)] + [edges[-1:]]
        )
        grid = np.array(list(itertools.product(places, _SLOPES, _CEILINGS, _FLOORS)))
        place, slope, ceiling, floor = (column[:, None] for column in grid.T)
        smooth = floor + np.maximum(0.0, ceiling - floor) / (1 + np.exp(-slope * (place - at)))
        accuracies, weights = [smooth], [np.full(len(smooth), 1 - _DIP_WEIGHT)]
        for index, left in itertools.product(range(len(at)), _DIPS):
            dipped = smooth.copy()
            dipped[:, index] *= left
            accuracies.append(dipped)
            weights.append(np.full(len(smooth), _DIP_WEIGHT / (len(at) * len(_DIPS))))
        p, weight = np.concatenate(accuracies), np.concatenate(weights)
        count = len(_CORRELATIONS)
        p, weight, correlation = np.tile(p, (count, 1)), np.tile(weight, count), np.repeat(_CORRELATIONS, len(p))
        passing = self._num_passing(p)
        order = np.argsort(passing, kind="stable")
        p, weight, correlation, passing = p[order], weight[order], correlation[order], passing[order]
        prior = weight / np.bincount(passing, weight, len(at) + 1)[passing]
        return p, correlation, passing, prior / prior.sum()

    def _num_passing(self, p: Floats) -> NDArray[np.int64]:
        needed = self.rule.threshold * (p[:, :1] if self.rule.of_base else 1.0)
        return np.asarray(np.cumprod(p >= needed, axis=1).sum(1))

    @lru_cache(maxsize=64)  # noqa: B019 - a process has few families, each for its whole life
    def log_likelihood(self, num: int, num_right: int) -> Floats:
        """Of one trial's outcome at every length, by curve: shape (num_curves, num_lengths)."""
        from scipy.special import betaln  # slow to import

        p, correlation, _, _ = self._states
        total = (1 / correlation - 1)[:, None]
        right, wrong = p * total, (1 - p) * total
        ways = np.log(math.comb(num, num_right))
        return np.asarray(ways + betaln(num_right + right, num - num_right + wrong) - betaln(right, wrong))

    @cached_property
    def _chances(self) -> Floats:
        """Of every number right of a whole trial: shape (num_curves, num_lengths * (num_items + 1))."""
        tables = [np.exp(self.log_likelihood(self.num_items, right)) for right in range(self.num_items + 1)]
        return np.stack(tables, axis=2).reshape(len(tables[0]), -1)

    def posterior(self, outcomes: Mapping[Outcome, int]) -> Floats:
        """The weight of every curve, after outcomes that were seen so often each."""
        log = np.log(self._states[3])
        for (index, num, right), count in outcomes.items():
            log += count * self.log_likelihood(num, right)[:, index]
        weight = np.exp(log - log.max())
        return np.asarray(weight / weight.sum())

    def probabilities(self, weight: Floats) -> Floats:
        """Of each number of lengths that pass, from none to all."""
        return np.asarray(np.bincount(self._states[2], weight, len(self.lengths) + 1), dtype=np.float64)

    def gains(self, weight: Floats) -> Floats:
        """Expected information about the effective length, in nats, from one more trial at each length."""
        kept = np.flatnonzero(weight > _NEGLIGIBLE)
        stops = np.searchsorted(self._states[2][kept], np.arange(len(self.lengths) + 2))
        parts = [kept[a:b] for a, b in itertools.pairwise(stops)]
        joint = np.stack([weight[part] @ self._chances[part] for part in parts])
        joint = joint.reshape(len(parts), len(self.lengths), self.num_items + 1)
        of_outcome, of_class = joint.sum(0), joint.sum(2)
        information = _entropy_terms(of_class).sum(0) + _entropy_terms(of_outcome).sum(1)
        return np.asarray(information - _entropy_terms(joint).sum((0, 2)))

    def fit(self, outcomes: Mapping[Outcome, int], confidence: float = 0.95) -> FittedCurve:
        weight = self.posterior(outcomes)
        p, tail = self._states[0], (1 - confidence) / 2
        ends = [_weighted_quantiles(p[:, i], weight, (tail, 1 - tail)) for i in range(len(self.lengths))]
        probabilities = self.probabilities(weight)
        low, value, high = (self._at(probabilities, q) for q in (tail, 0.5, 1 - tail))
        num = [sum(count * n for (at, n, _), count in outcomes.items() if at == i) for i in range(len(self.lengths))]
        return FittedCurve(
            self.lengths,
            tuple(float(x) for x in weight @ p),
            tuple(Interval(*pair) for pair in ends),
            tuple(num),
            EffectiveLength(self.rule, self.lengths, value, low, high, None),
            tuple(map(float, probabilities)),
        )

    def _at(self, probabilities: Floats, share: float) -> int | None:
        """The effective length below which this share of the posterior lies."""
        count = int(np.searchsorted(np.cumsum(probabilities), share - 1e-12))
        return self.lengths[min(count, len(self.lengths)) - 1] if count else None


def curve_family(lengths: Sequence[int], rule: Rule, num_items: int) -> CurveFamily:
    """Raises ConfigError for a rule that is not about accuracy over all depths, or fewer than two lengths."""
    if rule.every_depth:
        raise ConfigError(f"An adaptive sweep cannot follow the rule {rule.name}; choose ruler or nolima.")
    if len(lengths) < 2:
        raise ConfigError("An adaptive sweep needs at least two lengths to choose from.")
    return CurveFamily(tuple(sorted(lengths)), rule, num_items)


def count_outcomes(scores: Scores) -> dict[Outcome, int]:
    """How often each number of perfect scores was seen, by length and samples scored in a trial."""
    outcomes: dict[Outcome, int] = {}
    for trial in scores.values:
        for index, items in enumerate(trial):
            scored = items[~np.isnan(items)]
            if len(scored):
                key = (index, len(scored), int((scored == 1.0).sum()))
                outcomes[key] = outcomes.get(key, 0) + 1
    return outcomes


def fit_curve(scores: Scores, rule: Rule) -> FittedCurve:
    """The curve of an adaptive sweep; what was not asked is NaN in `scores`. Raises ConfigError as `curve_family`."""
    return curve_family(scores.lengths, rule, len(scores.depths)).fit(count_outcomes(scores))


def _entropy_terms(p: Floats) -> Floats:
    return -p * np.log(np.maximum(p, 1e-300))


def _weighted_quantiles(values: Floats, weight: Floats, shares: Sequence[float]) -> list[float]:
    order = np.argsort(values)
    places = np.searchsorted(np.cumsum(weight[order]), shares)
    return [float(values[order[min(place, len(values) - 1)]]) for place in places]
