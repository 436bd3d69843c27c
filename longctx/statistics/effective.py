"""The rules that turn a curve into one effective length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longctx.statistics.bootstrap import Values, design_effect, draw_means
from longctx.statistics.intervals import Interval, wilson
from longctx.statistics.rules import RULES, Rule
from longctx.statistics.scores import Scores

_ROUNDING = 1e-9


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

    rule: Rule
    lengths: tuple[int, ...]
    """The tested ones, ascending."""
    value: int | None
    low: int | None
    high: int | None
    first_failed: LengthResult | None
    """The length at which the rule stopped, for its samples."""

    @property
    def threshold(self) -> float:
        return self.rule.threshold

    def say(self, length: int | None) -> str:
        """`value`, `low` or `high` in words."""
        if length is None:
            return "not reached"
        return "beyond the longest tested" if length == self.lengths[-1] else f"{length:,} tokens"


def longest_passing(
    lengths: Sequence[int], accuracies: Sequence[float], rule: Rule, base: float | None = None
) -> int | None:
    """The rule on accuracies alone, by ascending length, as published tables have them; None: not reached.

    `base` is the accuracy that a rule relative to one refers to; without it that at the shortest length is taken.
    """
    reference = (accuracies[0] if base is None else base) if rule.of_base else 1.0
    passes = np.asarray(accuracies) >= rule.threshold * reference - _ROUNDING
    return _longest(lengths, passes)


def effective_lengths(
    scores: Scores, rules: Iterable[Rule] = tuple(RULES.values()), confidence: float = 0.95
) -> tuple[EffectiveLength, ...]:
    """The effective length under each rule: of the point estimates, and of the ends of a bootstrap interval.

    A length with an unscored sample does not pass: it was not measured. A run of 0 right at the shortest length passes
    no rule that is relative to it.
    """
    return tuple(_under(rule, scores, (1 - confidence) / 2) for rule in rules)


def _under(rule: Rule, scores: Scores, tail: float) -> EffectiveLength:
    complete = ~np.isnan(scores.values).any((0, 2))
    passes = _passes(rule, scores.values, tail) & complete
    value, low, high = (_longest(scores.lengths, row) for row in passes)
    failed = int(np.argmin(passes[0])) if not passes[0].all() else None
    result = None if failed is None else _length_result(scores, failed)
    return EffectiveLength(rule, scores.lengths, value, low, high, result)


def _passes(rule: Rule, values: Values, tail: float) -> NDArray[np.bool_]:
    """By the mean, by the interval's lower end and by its upper end: shape (3, num_lengths)."""
    if rule.every_depth:
        return np.asarray((_cell_ends(values, tail) >= rule.threshold - _ROUNDING).all(axis=2))
    if not rule.of_base:
        return np.asarray(_ends(values, 0.0, 1.0, tail, tail) >= rule.threshold - _ROUNDING)
    margins = values - rule.threshold * values[:, :1]
    passes = _ends(margins, -rule.threshold, 1.0, tail, tail) >= -_ROUNDING
    passes[:, 0] = True
    return np.asarray(passes & bool(np.nansum(values[:, 0]) > 0))


def _cell_ends(values: Values, tail: float) -> NDArray[np.float64]:
    """Means of cells and their Wilson intervals, shape (3, num_lengths, num_depths); 0 for a cell without a score.

    All depths pass if each does; but that one of many does not is seen by chance at one of them, so the upper ends
    are corrected for their number (Bonferroni).
    """
    from statsmodels.stats.proportion import proportion_confint  # slow to import

    num, total = (~np.isnan(values)).sum(0), np.nansum(values, axis=0)
    low, _ = proportion_confint(total, np.maximum(1, num), 2 * tail, method="wilson")
    _, high = proportion_confint(total, np.maximum(1, num), 2 * tail / values.shape[2], method="wilson")
    return np.where(num > 0, np.stack([total / np.maximum(1, num), low, high]), 0.0)


def _ends(values: Values, least: float, most: float, tail_low: float, tail_high: float) -> NDArray[np.float64]:
    """Means and the ends of their intervals, shape (3, num_groups); a group without a value gets the least."""
    mask = ~np.isnan(values)
    num = mask.sum((0, 2))
    means = np.where(num > 0, np.where(mask, values, 0.0).sum((0, 2)) / np.maximum(1, num), least)
    draws = draw_means(values, least, most, design_effect(values))
    return np.stack([means, *draws.interval(tail_low, tail_high)])


def _longest(lengths: Sequence[int], passes: NDArray[np.bool_]) -> int | None:
    count = len(passes) if passes.all() else int(np.argmin(passes))
    return lengths[count - 1] if count else None


def _length_result(scores: Scores, index: int) -> LengthResult:
    values = scores.values[:, index]
    num_scored = int((~np.isnan(values)).sum())
    return LengthResult(scores.lengths[index], int((values == 1.0).sum()), num_scored, values.size - num_scored)


def effective_length_of_counts(results: Sequence[LengthResult]) -> EffectiveLength:
    """RULER's rule on counts, with Wilson intervals, which take samples as independent.

    A length with an unscored sample does not pass: it was not measured. Raises ValueError without results.
    """
    if not results:
        raise ValueError("no results")
    rule = RULES["ruler"]
    ordered = sorted(results, key=lambda result: result.length)
    intervals = [r.interval() or Interval(-1.0, -1.0) for r in ordered]
    accuracies = [-1.0 if r.accuracy is None else r.accuracy for r in ordered]
    bounds = np.array([accuracies, [i.low for i in intervals], [i.high for i in intervals]])
    passes = (bounds >= rule.threshold) & np.array([not r.num_failed for r in ordered])
    lengths = tuple(r.length for r in ordered)
    value, low, high = (_longest(lengths, row) for row in passes)
    failed = None if passes[0].all() else ordered[int(np.argmin(passes[0]))]
    return EffectiveLength(rule, lengths, value, low, high, failed)
