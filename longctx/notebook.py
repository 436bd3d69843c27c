"""Runs in a notebook: tables as pandas DataFrames, pictures as matplotlib figures."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from longctx.errors import UnknownNameError
from longctx.exchange.read import read_results
from longctx.report.bars import draw_bars
from longctx.report.curves import draw_curve
from longctx.report.groups import TaskGroup, run_labels
from longctx.report.heatmap import draw_heatmap
from longctx.report.pages import Report, bars_alt, make_report
from longctx.report.summary import Summary
from longctx.report.tables import cells_frame, rows_frame
from longctx.report.theme import get_theme, inline_svg


@dataclass(frozen=True, slots=True)
class Runs:
    """One run, or several side by side."""

    summaries: tuple[Summary, ...]

    @property
    def rows(self) -> pd.DataFrame:
        """A line for every sample, controls included: run, model, and the fields of rows.jsonl."""
        return rows_frame(self.summaries)

    @property
    def cells(self) -> pd.DataFrame:
        """A line for every cell, with n, accuracy and the ends of its Wilson interval."""
        return cells_frame(self.summaries)

    @property
    def verdicts(self) -> tuple[str, ...]:
        """A sentence for every run and task."""
        return tuple(task.verdict.sentence for summary in self.summaries for task in summary.tasks)

    def heatmap(self, task: str | None = None, theme: str = "light") -> Figure:
        """Accuracy by length over depth by length, of the first task or the one named; raises UnknownNameError."""
        report = self._report(theme)
        return draw_heatmap(_pick(report.groups, task), report.theme, report.title)

    def curve(self, task: str | None = None, theme: str = "light") -> Figure:
        """Accuracy over a logarithmic axis of lengths, with the controls; raises UnknownNameError."""
        report = self._report(theme)
        return draw_curve(_pick(report.groups, task), report.theme)

    def bars(self, theme: str = "light") -> Figure:
        """Advertised against measured."""
        return draw_bars(self.summaries, get_theme(theme))

    def _report(self, theme: str) -> Report:
        return make_report(self.summaries, get_theme(theme))

    def _repr_html_(self) -> str:
        """What a notebook shows of it: the verdicts over the bars."""
        lines = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.verdicts)
        return lines + inline_svg(self.bars(), "loaded", bars_alt(self.summaries))


def load_runs(paths: Sequence[Path]) -> Runs:
    """The runs in these folders or files; raises StoreError or ConfigError for what cannot be read."""
    runs = Runs(tuple(read_results(path) for path in paths))
    run_labels(runs.summaries)  # raises for more than a picture can hold
    return runs


def _pick(groups: Sequence[TaskGroup], task: str | None) -> TaskGroup:
    known = {group.name: group for group in groups}
    if task is None:
        return groups[0]
    if task not in known:
        raise UnknownNameError("task", task, known)
    return known[task]
