"""From rows to what a report says: cells, curves, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from longctx.records import Row
from longctx.report.verdict import Verdict, judge
from longctx.statistics import Interval, LengthResult, wilson


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
class TaskSummary:
    task: str
    """With all its options."""
    cells: tuple[CellResult, ...]
    by_length: tuple[LengthResult, ...]
    verdict: Verdict

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
    manifest: dict[str, Any]


def summarise(manifest: dict[str, Any], rows: Sequence[Row]) -> Summary:
    """The summary of one run. `manifest` is what the store wrote."""
    config = manifest["config"]
    everything = rows
    rows = sorted((row for row in rows if row.control is None), key=lambda row: (row.task, row.length, row.depth, row.trial))
    lengths, depths = tuple(config["lengths"]), tuple(config["depths"])
    model, window = manifest["model"]["name"], int(manifest["model"]["window"])
    tasks = tuple(
        _summarise_task(task, model, window, config, [row for row in rows if row.task == task])
        for task in config["task"]
    )
    return Summary(
        model=model,
        window=window,
        design=config["design"],
        lengths=lengths,
        depths=depths,
        tasks=tasks,
        failed=tuple(row for row in rows if row.status != "ok"),
        wrong=tuple(row for row in rows if row.score is not None and row.score < 1.0),
        num_rows=len(rows),
        num_expected=len(lengths) * len(depths) * int(config["trials"]) * len(tasks),
        num_prompt_tokens=sum(row.num_prompt_tokens for row in everything),
        num_prefilled_tokens=sum(row.num_prefilled_tokens for row in everything),
        num_prefilled_prefix_tokens=sum(row.num_prefilled_prefix_tokens for row in everything),
        manifest=manifest,
    )


def _summarise_task(task: str, model: str, window: int, config: dict[str, Any], rows: list[Row]) -> TaskSummary:
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
    return TaskSummary(task, tuple(cells), tuple(by_length), verdict)
