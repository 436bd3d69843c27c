"""What other tools keep of a run: how many were right at each length, and little else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from longctx.errors import ConfigError
from longctx.report.analysis import analyse_counts
from longctx.report.summary import MeanScores, Summary, TaskSummary
from longctx.report.verdict import judge
from longctx.statistics import LengthResult


@dataclass(frozen=True, slots=True)
class LengthScores:
    """One task's samples at one context length."""

    length: int
    num_scored: int
    mean: float
    """Mean score, 0 to 1; samples may be partly right."""
    num_right: int | None = None
    """Samples with a perfect score; None where only the mean was kept."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A run of another tool."""

    model: str
    tool: str
    source: Path
    tasks: Mapping[str, Sequence[LengthScores]]
    notes: tuple[str, ...] = ()


def to_summary(run: Imported) -> Summary:
    """A summary without cells: the depths of these samples are not known, nor is the advertised window.

    Where only a mean was kept, it is taken for a share of right answers, rounded to whole ones: the interval of that is
    at least as wide as that of the same mean of partial scores. Raises ConfigError if nothing was measured.
    """
    if not any(run.tasks.values()):
        raise ConfigError(f"{run.source} holds no scores by context length.")
    tasks = tuple(_task(run, name, scores) for name, scores in sorted(run.tasks.items()) if scores)
    lengths = sorted({score.length for scores in run.tasks.values() for score in scores})
    num_samples = sum(score.num_scored for scores in run.tasks.values() for score in scores)
    only_means = any(score.num_right is None for scores in run.tasks.values() for score in scores)
    notes = [
        f"Read from results of {run.tool}; depths, failed samples and the advertised window are not known from them.",
        *run.notes,
    ]
    if only_means:
        notes.append("Only means were kept; intervals take them for shares of right answers, all independent.")
    return Summary(
        model=run.model,
        window=None,
        design=run.tool,
        lengths=tuple(lengths),
        depths=(),
        tasks=tasks,
        num_rows=num_samples,
        num_expected=num_samples,
        origin=" ".join(notes),
    )


def _task(run: Imported, name: str, scores: Sequence[LengthScores]) -> TaskSummary:
    ordered = sorted(scores, key=lambda score: score.length)
    counts = [LengthResult(score.length, _num_right(score), score.num_scored) for score in ordered]
    analysis = analyse_counts(counts)
    return TaskSummary(
        task=name,
        cells=(),
        analysis=analysis,
        means=tuple(MeanScores(score.mean, None) for score in ordered),
        controls=(),
        verdict=judge(run.model, None, name, run.tool, analysis.rules[0], analysis.points),
    )


def _num_right(score: LengthScores) -> int:
    return round(score.mean * score.num_scored) if score.num_right is None else score.num_right
