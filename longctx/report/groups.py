"""Several runs' results of one task, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from longctx.errors import ConfigError
from longctx.pages import visible
from longctx.report.summary import Summary, TaskSummary
from longctx.report.theme import MARKERS


@dataclass(frozen=True, slots=True)
class Series:
    """One run's results of one task."""

    index: int
    """Of the run in the report, from 0: it decides the colour."""
    label: str
    summary: Summary
    task: TaskSummary


@dataclass(frozen=True, slots=True)
class TaskGroup:
    """One task in all runs that have it."""

    name: str
    series: tuple[Series, ...]

    @property
    def lengths(self) -> tuple[int, ...]:
        """All lengths at which any run was tested."""
        return tuple(sorted({length for one in self.series for length in one.summary.lengths}))

    @property
    def window(self) -> int | None:
        """The advertised window, where all runs have the same."""
        windows = {one.summary.window for one in self.series}
        return windows.pop() if len(windows) == 1 else None

    @property
    def differing(self) -> tuple[str, ...]:
        """The task with its options, for each way in which runs have it; empty if there is one."""
        found = sorted({one.task.task for one in self.series})
        return tuple(found) if len(found) > 1 else ()


def run_labels(summaries: Sequence[Summary]) -> tuple[str, ...]:
    """A short name for each run, no two alike; raises ConfigError for more runs than can be told apart."""
    if len(summaries) > len(MARKERS):
        raise ConfigError(f"{len(summaries)} runs cannot be told apart in one picture; at most {len(MARKERS)} can.")
    names = [visible(summary.model, 40) for summary in summaries]
    counts = Counter(names)
    marked = zip(names, run_marks(summaries), strict=True)
    return tuple(f"{name} ({mark})" if counts[name] > 1 else name for name, mark in marked)


def run_marks(summaries: Sequence[Summary]) -> tuple[str, ...]:
    """What tells runs of one model apart: their folders' names, or letters where those say no more than the model."""
    folders = tuple(visible(summary.folder, 24) for summary in summaries)
    says_more = all(f and not f.startswith(summary.model) for f, summary in zip(folders, summaries, strict=True))
    if says_more and len({*folders}) == len(folders):
        return folders
    return tuple(chr(ord("A") + index) for index in range(len(folders)))


def group_tasks(summaries: Sequence[Summary]) -> tuple[TaskGroup, ...]:
    """The runs' tasks, those of one name together unless a run has that name twice, with other options."""
    labels = run_labels(summaries)
    twice = {
        name
        for summary in summaries
        for name, count in Counter(task.name for task in summary.tasks).items()
        if count > 1
    }
    found: dict[str, list[Series]] = {}
    for index, (label, summary) in enumerate(zip(labels, summaries, strict=True)):
        for task in summary.tasks:
            key = task.task if task.name in twice else task.name
            found.setdefault(key, []).append(Series(index, label, summary, task))
    return tuple(TaskGroup(name, tuple(series)) for name, series in found.items())
