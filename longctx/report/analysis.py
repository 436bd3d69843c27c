"""One task's figures over several cells: estimates by length, effective lengths, cells that stand out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longctx.statistics import (
    Difference,
    EffectiveLength,
    Estimate,
    Interval,
    LengthResult,
    Rule,
    Scores,
    check_monotone,
    effective_length_of_counts,
    effective_lengths,
    length_differences,
    length_estimates,
    worse_cells,
)
from longctx.statistics.curve import FittedCurve, count_outcomes, curve_family


@dataclass(frozen=True, slots=True)
class LengthPoint:
    """All samples of one context length."""

    counts: LengthResult
    interval: Interval | None
    """95 %, with trials as clusters where they are known, else Wilson's; None where nothing was scored."""
    effective_num: float
    """How many independent samples would tell as much; at most n."""

    @property
    def length(self) -> int:
        return self.counts.length

    @property
    def accuracy(self) -> float | None:
        return self.counts.accuracy


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a task's samples say about lengths."""

    points: tuple[LengthPoint, ...]
    rules: tuple[EffectiveLength, ...]
    """Under each rule, RULER's first."""
    worse: frozenset[tuple[int, float]] = frozenset()
    """Length and depth of the cells that are worse than the rest of their length, after Benjamini and Hochberg."""
    length_effects: tuple[Difference, ...] = ()
    """Each length against the shortest, paired."""
    rise_p_value: float | None = None
    """Of accuracy that never rises with length; None where it was not tested."""
    fitted: FittedCurve | None = None
    """Of an adaptive sweep, whose raw rates are biased: what it asked depends on what was answered."""


def analyse(scores: Scores, counts: Sequence[LengthResult]) -> Analysis:
    """The analysis of a task's samples; `counts` are of the same, by ascending length."""
    if all(result.num_scored == 0 for result in counts):
        return analyse_counts(counts)
    estimates = length_estimates(scores)
    return Analysis(
        points=tuple(_point(result, estimate) for result, estimate in zip(counts, estimates, strict=True)),
        rules=effective_lengths(scores),
        worse=frozenset((cell.length, cell.depth) for cell in worse_cells(scores) if cell.worse),
        length_effects=length_differences(scores),
        rise_p_value=check_monotone(scores).p_value if len(counts) > 1 else None,
    )


def _point(result: LengthResult, estimate: Estimate | None) -> LengthPoint:
    if estimate is None:
        return LengthPoint(result, None, 0.0)
    return LengthPoint(result, estimate.interval, estimate.effective_num)


def analyse_counts(counts: Sequence[LengthResult]) -> Analysis:
    """The same where only counts are known: intervals are Wilson's, which take samples as independent."""
    points = tuple(LengthPoint(result, result.interval(), float(result.num_scored)) for result in counts)
    return Analysis(points, (effective_length_of_counts(counts),))


def analyse_adaptive(scores: Scores, counts: Sequence[LengthResult], rule: Rule) -> Analysis:
    """The analysis of an adaptive sweep: the effective length is that of the fitted curve, and of its one rule."""
    fitted = curve_family(scores.lengths, rule, len(scores.depths)).fit(count_outcomes(scores))
    points = tuple(LengthPoint(result, result.interval(), float(result.num_scored)) for result in counts)
    return Analysis(points, (fitted.effective,), fitted=fitted)
