"""A curve of accuracy by length, fitted to the answers of an adaptive sweep, and where to ask next.

Raw rates of a design that follows its own answers are biased, so a family of curves is fitted instead, on a grid of
parameters as QUEST+ does (Watson 2017). The samples of a trial may be alike: their number right is beta-binomial.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from longctx.errors import ConfigError
from longctx.statistics.curves import Curves, Floats, make_curves
from longctx.statistics.effective import EffectiveLength
from longctx.statistics.intervals import Interval
from longctx.statistics.rules import Rule
from longctx.statistics.scores import Scores

_MAX_LENGTHS = 16
"""The grid of curves grows with their square; it would take gigabytes."""
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
    def _curves(self) -> Curves:
        return make_curves(self.lengths, self.rule)

    @cached_property
    def _logs(self) -> NDArray[np.float32]:
        """Log-likelihoods of every number right of a whole trial: shape (num_curves, num_lengths, num_items + 1)."""
        num, at = self.num_items, range(len(self.lengths))
        tables = [[self._log_likelihood(i, num, right) for right in range(num + 1)] for i in at]
        return np.array(tables, dtype=np.float32).transpose(2, 0, 1).copy()

    def _log_likelihood(self, index: int, num: int, num_right: int) -> Floats:
        """Of one trial's outcome at one length, by curve: beta-binomial."""
        from scipy.special import betaln  # slow to import

        total = 1 / self._curves.correlations - 1
        right = self._curves.accuracies[:, index] * total
        wrong = total - right
        ways = math.log(math.comb(num, num_right))
        return np.asarray(ways + betaln(num_right + right, num - num_right + wrong) - betaln(right, wrong))

    def posterior(self, outcomes: Mapping[Outcome, int]) -> Floats:
        """The weight of every curve, after outcomes that were seen so often each."""
        log = np.log(self._curves.prior)
        for (index, num, right), count in outcomes.items():
            whole = num == self.num_items
            log += count * (self._logs[:, index, right] if whole else self._log_likelihood(index, num, right))
        weight = np.exp(log - log.max())
        return np.asarray(weight / weight.sum())

    def probabilities(self, weight: Floats) -> Floats:
        """Of each number of lengths that pass, from none to all."""
        return np.asarray(np.bincount(self._curves.num_passing, weight, len(self.lengths) + 1), dtype=np.float64)

    def gains(self, weight: Floats) -> Floats:
        """Expected information about the effective length, in nats, from one more trial at each length."""
        kept = np.flatnonzero(weight > _NEGLIGIBLE)
        stops = np.searchsorted(self._curves.num_passing[kept], np.arange(len(self.lengths) + 2))
        parts = [kept[a:b] for a, b in itertools.pairwise(stops)]
        joint = np.stack([np.tensordot(weight[part], np.exp(self._logs[part]), 1) for part in parts])
        of_outcome, of_class = joint.sum(0), joint.sum(2)
        information = _entropy_terms(of_class).sum(0) + _entropy_terms(of_outcome).sum(1)
        return np.asarray(information - _entropy_terms(joint).sum((0, 2)))

    def fit(self, outcomes: Mapping[Outcome, int], confidence: float = 0.95) -> FittedCurve:
        weight = self.posterior(outcomes)
        p, tail = self._curves.accuracies, (1 - confidence) / 2
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
    """Raises ConfigError for a rule that is not about accuracy over all depths, or too few or many lengths."""
    if rule.every_depth:
        raise ConfigError(f"An adaptive sweep cannot follow the rule {rule.name}; choose ruler or nolima.")
    if not 2 <= len(lengths) <= _MAX_LENGTHS:
        raise ConfigError(f"An adaptive sweep chooses from 2 to {_MAX_LENGTHS} lengths, not from {len(lengths)}.")
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
