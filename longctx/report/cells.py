"""The cells of a heatmap: all samples of one task, length and depth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from longctx.records import Row
from longctx.statistics import Interval, wilson


@dataclass(frozen=True, slots=True)
class Tally:
    """Right answers among the scored ones. Scores of 1.0 count as right."""

    num_right: int
    num_scored: int

    @property
    def accuracy(self) -> float | None:
        return self.num_right / self.num_scored if self.num_scored else None

    @property
    def interval(self) -> Interval | None:
        """Wilson's, 95 %."""
        return wilson(self.num_right, self.num_scored) if self.num_scored else None


def tally(rows: Iterable[Row]) -> Tally:
    scores = [row.score for row in rows if row.score is not None]
    return Tally(sum(score == 1.0 for score in scores), len(scores))


@dataclass(frozen=True, slots=True)
class CellResult:
    """The samples of one task, length and depth."""

    length: int
    depth: float
    counts: Tally
    failures: tuple[str, ...]
    """Status of every sample that has no score."""
    num_missing: int
    """Samples that were not run yet."""
    past_window: bool
    mean_logprob: float | None = None
    """Mean natural log of the probability of the wanted answer, of the samples that have one."""

    @property
    def label(self) -> str:
        """What stands in the cell: right of scored, with ! if others failed; or why there is no score."""
        if self.counts.num_scored:
            return f"{self.counts.num_right}/{self.counts.num_scored}" + ("!" if self.failures else "")
        return self.failures[0] if self.failures else "not run"

    @property
    def explanation(self) -> str:
        """What hovering over the cell tells."""
        parts = [f"context {self.length:,} tokens, depth {self.depth:.0%}"]
        if interval := self.counts.interval:
            parts.append(f"{self.counts.num_right} of n = {self.counts.num_scored} right")
            parts.append(f"95 % Wilson interval {interval.low:.0%} to {interval.high:.0%}")
        if self.mean_logprob is not None:
            parts.append(f"mean log-probability of the wanted answer {self.mean_logprob:.2f}")
        if self.failures:
            parts.append(f"{len(self.failures)} failed ({', '.join(sorted(set(self.failures)))})")
        if self.num_missing:
            parts.append(f"{self.num_missing} not run")
        if self.past_window:
            parts.append("past the advertised window")
        return "; ".join(parts)


def make_cells(
    rows: Iterable[Row], lengths: Sequence[int], depths: Sequence[float], trials: int, window: int | None
) -> tuple[CellResult, ...]:
    """A cell for every length and depth, by length and then depth; `trials` samples were asked for in each."""
    found: defaultdict[tuple[int, float], list[Row]] = defaultdict(list)
    for row in rows:
        found[row.length, row.depth].append(row)
    return tuple(
        _make_cell(length, depth, found[length, depth], trials, window is not None and length > window)
        for length in lengths
        for depth in depths
    )


def _make_cell(length: int, depth: float, rows: list[Row], trials: int, past_window: bool) -> CellResult:
    logprobs = [row.target_logprob for row in rows if row.target_logprob is not None]
    return CellResult(
        length=length,
        depth=depth,
        counts=tally(rows),
        failures=tuple(row.status for row in rows if row.status != "ok"),
        num_missing=max(0, trials - len(rows)),
        past_window=past_window,
        mean_logprob=mean(logprobs) if logprobs else None,
    )
