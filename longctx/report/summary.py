"""From rows to what a report says: cells, curves, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import pandas as pd

from longctx.records import Control, Row
from longctx.report.verdict import Verdict, judge
from longctx.statistics import Interval, LengthResult, wilson

_ABLE = 0.9
_CONTROLS: tuple[Control, ...] = ("closed_book", "short")


@dataclass(frozen=True, slots=True)
class CellResult:
    """The samples of one task, length and depth. Scores of 1.0 count as right."""

    length: int
    depth: float
    num_right: int
    num_scored: int
    failures: tuple[str, ...]
    """Status of every sample that has no score."""
    num_missing: int
    """Samples that were not run yet."""
    beyond_window: bool

    @property
    def accuracy(self) -> float | None:
        return self.num_right / self.num_scored if self.num_scored else None

    @property
    def interval(self) -> Interval | None:
        return wilson(self.num_right, self.num_scored) if self.num_scored else None

    @property
    def label(self) -> str:
        """What stands in the cell: right of scored, with ! if others failed; or why there is no score."""
        if self.num_scored:
            return f"{self.num_right}/{self.num_scored}" + ("!" if self.failures else "")
        return self.failures[0] if self.failures else "not run"

    @property
    def explanation(self) -> str:
        """What hovering over the cell tells."""
        parts = [f"context {self.length:,} tokens, depth {self.depth:.0%}"]
        if self.num_scored and (interval := self.interval):
            parts.append(f"{self.num_right} of n = {self.num_scored} right")
            parts.append(f"95 % Wilson interval {interval.low:.0%} to {interval.high:.0%}")
        if self.failures:
            parts.append(f"{len(self.failures)} failed ({', '.join(sorted(set(self.failures)))})")
        if self.num_missing:
            parts.append(f"{self.num_missing} not run")
        if self.beyond_window:
            parts.append("past the advertised window")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class MeanScores:
    """Means over all depths of one length, of tasks whose answers can be partly right or are scored by two rules."""

    score: float | None
    strict: float | None


@dataclass(frozen=True, slots=True)
class ControlResult:
    """All samples of one control of a task."""

    control: Control
    num_right: int
    num_scored: int
    guess_rate: float
    """What drawing from the closed sets of candidates gives; 0.0 where there is none."""

    @property
    def interval(self) -> Interval | None:
        return wilson(self.num_right, self.num_scored) if self.num_scored else None

    @property
    def warning(self) -> str | None:
        """Why scores of this task are to be read with care; None if they are not."""
        if (interval := self.interval) is None:
            return None
        if self.control == "closed_book" and interval.low > self.guess_rate:
            return (
                f"Without the text {self.num_right} of {self.num_scored} answers are right, more than guessing gives "
                f"({self.guess_rate:.0%}): the scores are not all recall."
            )
        if self.control == "short" and self.num_right < _ABLE * self.num_scored:
            return (
                f"With nothing but the supporting text {self.num_right} of {self.num_scored} answers are right: "
                "the model can hardly do the task at all, so its scores say little about length."
            )
        return None


@dataclass(frozen=True, slots=True)
class TaskSummary:
    task: str
    """With all its options."""
    cells: tuple[CellResult, ...]
    by_length: tuple[LengthResult, ...]
    means: tuple[MeanScores, ...]
    """By length."""
    controls: tuple[ControlResult, ...]
    verdict: Verdict

    @property
    def has_means(self) -> bool:
        """Whether the means say more than the counts of right answers."""
        return any(
            mean.strict is not None or (mean.score or 0.0) != result.accuracy
            for mean, result in zip(self.means, self.by_length, strict=True)
            if mean.score is not None
        )

    @property
    def name(self) -> str:
        return self.task.partition(":")[0]

    def cell(self, length: int, depth: float) -> CellResult:
        return next(cell for cell in self.cells if (cell.length, cell.depth) == (length, depth))


@dataclass(frozen=True, slots=True)
class Summary:
    """All that the page, the Markdown and the pictures show."""

    model: str
    window: int
    design: str
    lengths: tuple[int, ...]
    depths: tuple[float, ...]
    tasks: tuple[TaskSummary, ...]
    failed: tuple[Row, ...]
    wrong: tuple[Row, ...]
    num_rows: int
    num_expected: int
    num_prompt_tokens: int
    num_prefilled_tokens: int
    num_prefilled_prefix_tokens: int
    repeated_share: float
    """The largest share of 8-grams that a document's filler had said before."""
    manifest: dict[str, Any]


def summarise(manifest: dict[str, Any], rows: Sequence[Row]) -> Summary:
    """The summary of one run. `manifest` is what the store wrote."""
    config = manifest["config"]
    everything, controls = rows, [row for row in rows if row.control in _CONTROLS]
    rows = sorted(
        (row for row in rows if row.control is None), key=lambda row: (row.task, row.length, row.depth, row.trial)
    )
    lengths, depths = tuple(config["lengths"]), tuple(config["depths"])
    model, window = manifest["model"]["name"], int(manifest["model"]["window"])
    tasks = tuple(
        _summarise_task(
            task,
            model,
            window,
            config,
            [row for row in rows if row.task == task],
            [row for row in controls if row.task == task],
        )
        for task in config["task"]
    )
    return Summary(
        model=model,
        window=window,
        design=config["design"],
        lengths=lengths,
        depths=depths,
        tasks=tasks,
        failed=tuple(row for row in [*rows, *controls] if row.status != "ok"),
        wrong=tuple(row for row in rows if row.score is not None and row.score < 1.0),
        num_rows=len(rows),
        num_expected=len(lengths) * len(depths) * int(config["trials"]) * len(tasks),
        num_prompt_tokens=sum(row.num_prompt_tokens for row in everything),
        num_prefilled_tokens=sum(row.num_prefilled_tokens for row in everything),
        num_prefilled_prefix_tokens=sum(row.num_prefilled_prefix_tokens for row in everything),
        repeated_share=max((row.repeated_share for row in rows), default=0.0),
        manifest=manifest,
    )


def _summarise_task(
    task: str, model: str, window: int, config: dict[str, Any], rows: list[Row], controls: list[Row]
) -> TaskSummary:
    trials = int(config["trials"])
    columns = ["length", "depth", "status", "score"]
    frame = pd.DataFrame([(r.length, r.depth, r.status, r.score) for r in rows], columns=columns)
    cells = []
    for length in config["lengths"]:
        for depth in config["depths"]:
            cell = frame[(frame.length == length) & (frame.depth == depth)]
            scored = cell[cell.status == "ok"]
            cells.append(
                CellResult(
                    length=length,
                    depth=depth,
                    num_right=int((scored.score == 1.0).sum()),
                    num_scored=len(scored),
                    failures=tuple(cell[cell.status != "ok"].status),
                    num_missing=trials - len(cell),
                    beyond_window=length > window,
                )
            )
    by_length = []
    for length in config["lengths"]:
        column = [cell for cell in cells if cell.length == length]
        by_length.append(
            LengthResult(
                length=length,
                num_right=sum(cell.num_right for cell in column),
                num_scored=sum(cell.num_scored for cell in column),
                num_failed=sum(len(cell.failures) + cell.num_missing for cell in column),
            )
        )
    verdict = judge(model, window, task.partition(":")[0], config["design"], by_length)
    means = tuple(_means([row for row in rows if row.length == length]) for length in config["lengths"])
    return TaskSummary(task, tuple(cells), tuple(by_length), means, _control_results(controls), verdict)


def _means(rows: list[Row]) -> MeanScores:
    scores = [row.score for row in rows if row.score is not None]
    strict = [row.strict_score for row in rows if row.strict_score is not None]
    return MeanScores(mean(scores) if scores else None, mean(strict) if strict else None)


def _control_results(rows: list[Row]) -> tuple[ControlResult, ...]:
    results = []
    for control in _CONTROLS:
        scored = [row for row in rows if row.control == control and row.status == "ok"]
        if not scored:
            continue
        guess = mean(1 / row.num_candidates if row.num_candidates else 0.0 for row in scored)
        results.append(ControlResult(control, sum(row.score == 1.0 for row in scored), len(scored), guess))
    return tuple(results)
