"""From rows to what a report says: cells, curves, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from longctx.addressable import Addressable, addressable
from longctx.records import Row
from longctx.report.analysis import Analysis, LengthPoint, analyse, analyse_adaptive
from longctx.report.capacity import Capacity, by_answers, by_canaries, effective
from longctx.report.cells import CellResult, make_cells
from longctx.report.controls import SHOWN, ControlResult, control_results
from longctx.report.costs import Cost, sum_costs
from longctx.report.hops import HopResult, SpanResult, hop_results, span_results
from longctx.report.server import Server, summarise_server
from longctx.report.verdict import Verdict, judge
from longctx.statistics import RULES, LengthResult, Scores


@dataclass(frozen=True, slots=True)
class MeanScores:
    """Means over all depths of one length, of tasks whose answers can be partly right or are scored by two rules."""

    score: float | None
    strict: float | None


@dataclass(frozen=True, slots=True)
class TaskSummary:
    task: str
    """With all its options."""
    cells: tuple[CellResult, ...]
    """Empty where the depths are not known."""
    analysis: Analysis
    means: tuple[MeanScores, ...]
    """By length."""
    controls: tuple[ControlResult, ...]
    verdict: Verdict
    hops: tuple[HopResult, ...] = ()
    spans: tuple[SpanResult, ...] = ()
    scores: Scores | None = field(default=None, repr=False)
    """None where only counts are known."""

    @property
    def points(self) -> tuple[LengthPoint, ...]:
        """Results by length."""
        return self.analysis.points

    @property
    def has_means(self) -> bool:
        """Whether the means say more than the counts of right answers."""
        return any(
            mean.strict is not None or (mean.score or 0.0) != point.accuracy
            for mean, point in zip(self.means, self.points, strict=True)
            if mean.score is not None
        )

    @property
    def name(self) -> str:
        return self.task.partition(":")[0]

    @property
    def capacity(self) -> Capacity:
        return effective(self.task, self.verdict.effective)

    def mark(self, cell: CellResult) -> str:
        """What stands behind the label of a cell that is worse than the rest of its length."""
        return " ▾" if (cell.length, cell.depth) in self.analysis.worse else ""

    def cell(self, length: int, depth: float) -> CellResult:
        return next(cell for cell in self.cells if (cell.length, cell.depth) == (length, depth))


@dataclass(frozen=True, slots=True)
class Summary:
    """All that the page, the Markdown and the pictures show of one run."""

    model: str
    window: int | None
    """Advertised, in tokens; None where the results of another tool do not say it."""
    design: str
    lengths: tuple[int, ...]
    depths: tuple[float, ...]
    tasks: tuple[TaskSummary, ...]
    num_rows: int
    num_expected: int
    failed: tuple[Row, ...] = ()
    wrong: tuple[Row, ...] = ()
    rows: tuple[Row, ...] = field(default=(), repr=False)
    """All but those of controls, by task, length, depth and trial."""
    controls: tuple[Row, ...] = field(default=(), repr=False)
    canaries: tuple[Row, ...] = field(default=(), repr=False)
    reach: Addressable | None = None
    """What the canaries showed; None where none was asked for."""
    addressable: Capacity | None = None
    server: Server | None = None
    """None for a model that was not behind one."""
    cost: Cost | None = None
    repeated_share: float = 0.0
    """The largest share of 8-grams that a document's filler had said before."""
    manifest: dict[str, Any] | None = None
    """None for the results of another tool."""
    origin: str = ""
    """Of the results of another tool: which, and what is not known of them."""
    folder: str = ""
    """The name of the run's folder; empty for the results of another tool."""

    def is_past(self, length: int) -> bool:
        """Whether a length is over the advertised window."""
        return self.window is not None and length > self.window

    @property
    def capacities(self) -> tuple[Capacity, ...]:
        """Advertised, addressable, and the effective length of every task."""
        advertised = () if self.window is None else (Capacity("advertised", "", self.window),)
        known = () if self.addressable is None else (self.addressable,)
        return (*advertised, *known, *(task.capacity for task in self.tasks))


def summarise(manifest: dict[str, Any], rows: Sequence[Row]) -> Summary:
    """The summary of one run. `manifest` is what the store wrote."""
    config = manifest["config"]
    controls = [row for row in rows if row.control in SHOWN]
    own = sorted(
        (row for row in rows if row.control is None), key=lambda row: (row.task, row.length, row.depth, row.trial)
    )
    lengths, depths = tuple(config["lengths"]), tuple(config["depths"])
    model, window = manifest["model"]["name"], int(manifest["model"]["window"])
    num_cells = len(lengths) * len(depths) * len(config["task"])
    tasks = tuple(
        _summarise_task(
            task,
            model,
            window,
            config,
            [row for row in own if row.task == task],
            [row for row in controls if row.task == task],
        )
        for task in config["task"]
    )
    canaries = [row for row in rows if row.control == "canary"]
    reach = addressable(rows)
    return Summary(
        model=model,
        window=window,
        design=config["design"],
        lengths=lengths,
        depths=depths,
        tasks=tasks,
        num_rows=len(own),
        num_expected=len(own) if config.get("adaptive", False) else num_cells * int(config["trials"]),
        failed=tuple(row for row in [*own, *controls] if row.status != "ok"),
        wrong=tuple(row for row in own if row.score is not None and row.score < 1.0),
        rows=tuple(own),
        controls=tuple(controls),
        canaries=tuple(canaries),
        reach=reach,
        addressable=by_answers(own) if reach is None else by_canaries(reach),
        server=summarise_server(manifest, rows),
        cost=sum_costs(rows, manifest),
        repeated_share=max((row.repeated_share for row in own), default=0.0),
        manifest=manifest,
    )


def _summarise_task(
    task: str, model: str, window: int, config: dict[str, Any], rows: list[Row], controls: list[Row]
) -> TaskSummary:
    lengths, depths, trials = config["lengths"], config["depths"], int(config["trials"])
    cells = make_cells(rows, lengths, depths, trials, window)
    scores = Scores.from_rows(rows, lengths, depths, trials)
    adaptive = config.get("adaptive", False)
    counts = [_length_result(length, cells, adaptive) for length in lengths]
    analysis = analyse_adaptive(scores, counts, RULES[config["rule"]]) if adaptive else analyse(scores, counts)
    design = f"{config['design']}, adaptive" if adaptive else config["design"]
    return TaskSummary(
        task=task,
        cells=cells,
        analysis=analysis,
        means=tuple(_means([row for row in rows if row.length == length]) for length in lengths),
        controls=control_results(controls),
        verdict=judge(model, window, task.partition(":")[0], design, analysis.rules[0], analysis.points, adaptive),
        hops=hop_results(rows, lengths),
        spans=span_results(rows),
        scores=scores,
    )


def _length_result(length: int, cells: Sequence[CellResult], adaptive: bool) -> LengthResult:
    """What an adaptive sweep did not ask is not missing."""
    column = [cell for cell in cells if cell.length == length]
    return LengthResult(
        length=length,
        num_right=sum(cell.counts.num_right for cell in column),
        num_scored=sum(cell.counts.num_scored for cell in column),
        num_failed=sum(len(cell.failures) + (0 if adaptive else cell.num_missing) for cell in column),
    )


def _means(rows: list[Row]) -> MeanScores:
    scores = [row.score for row in rows if row.score is not None]
    strict = [row.strict_score for row in rows if row.strict_score is not None]
    return MeanScores(mean(scores) if scores else None, mean(strict) if strict else None)
