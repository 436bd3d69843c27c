"""Two runs of one task, length by length: which is better, and how surely."""

from __future__ import annotations

from dataclasses import dataclass

from longctx.report.analysis import LengthPoint
from longctx.report.groups import Series, TaskGroup
from longctx.statistics import Interval, run_differences


@dataclass(frozen=True, slots=True)
class RunDifference:
    """Accuracy of the second run less that of the first, at one length."""

    first: Series
    second: Series
    length: int
    value: float
    interval: Interval
    """95 %; not corrected for the number of differences that are looked at."""
    num: int
    """Pairs, or samples of the smaller run."""
    paired: bool
    """Both runs answered the same questions, and were compared question by question."""

    @property
    def pairing(self) -> str:
        """What the runs were asked, and so how they were compared."""
        return "the same questions, compared in pairs" if self.paired else "different questions, compared as wholes"

    @property
    def significant(self) -> bool:
        """The interval leaves out zero."""
        return self.interval.low > 0.0 or self.interval.high < 0.0


def group_differences(group: TaskGroup) -> tuple[RunDifference, ...]:
    """Each run against the first one, at every length that both have scores of."""
    first, *others = group.series
    return tuple(difference for other in others for difference in _differences(first, other))


def _differences(first: Series, second: Series) -> list[RunDifference]:
    if _asked_the_same(first, second):
        assert first.task.scores is not None
        assert second.task.scores is not None
        found = run_differences(first.task.scores, second.task.scores, (first.label, second.label))
        return [
            RunDifference(first, second, one.length, one.estimate.value, one.estimate.interval, one.estimate.num, True)
            for one in found
        ]
    theirs = {point.length: point for point in second.task.points}
    pairs = [(point, theirs[point.length]) for point in first.task.points if point.length in theirs]
    return [
        _unpaired(first, second, *pair) for pair in pairs if pair[0].counts.num_scored and pair[1].counts.num_scored
    ]


def _asked_the_same(first: Series, second: Series) -> bool:
    """Whether samples of one place in the grid ask for the same fact in both runs, wherever both have one."""
    if first.task.scores is None or second.task.scores is None:
        return False
    wanted = {
        (row.length, row.depth, row.trial): row.targets for row in first.summary.rows if row.task == first.task.task
    }
    found = [
        wanted[place] == row.targets
        for row in second.summary.rows
        if row.task == second.task.task and (place := (row.length, row.depth, row.trial)) in wanted
    ]
    return bool(found) and all(found)


def _unpaired(first: Series, second: Series, one: LengthPoint, other: LengthPoint) -> RunDifference:
    """Newcombe's interval for independent samples (1998, method 10, through statsmodels)."""
    from statsmodels.stats.proportion import confint_proportions_2indep  # slow to import

    a, b = one.counts, other.counts
    low, high = confint_proportions_2indep(b.num_right, b.num_scored, a.num_right, a.num_scored, method="newcomb")
    value = b.num_right / b.num_scored - a.num_right / a.num_scored
    interval = Interval(float(low), float(high))
    return RunDifference(first, second, a.length, value, interval, min(a.num_scored, b.num_scored), False)
