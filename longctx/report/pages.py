"""report.html and report.md, from templates. Every value is escaped for where it goes."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import markupsafe

from longctx.pages import open_templates, visible
from longctx.report.bars import draw_bars
from longctx.report.cells import CellResult
from longctx.report.curves import draw_curve
from longctx.report.details import cell_key, click_details
from longctx.report.differences import RunDifference, group_differences
from longctx.report.groups import Series, TaskGroup, group_tasks, run_labels, run_marks
from longctx.report.run_view import RunView, view_run
from longctx.report.server_words import FILTERS
from longctx.report.summary import Summary
from longctx.report.theme import Theme, axis_label, colour, ink_on, inline_svg


@dataclass(frozen=True, slots=True)
class Report:
    """What is drawn: one run, or several side by side."""

    title: str
    theme: Theme
    runs: tuple[RunView, ...]
    groups: tuple[TaskGroup, ...]

    @property
    def summaries(self) -> list[Summary]:
        return [run.summary for run in self.runs]


def make_report(summaries: Sequence[Summary], theme: Theme, title: str | None = None) -> Report:
    """A report on runs, the first of which others are compared with; raises ConfigError for too many of them."""
    labels = run_labels(summaries)
    runs = tuple(view_run(label, summary) for label, summary in zip(labels, summaries, strict=True))
    return Report(visible(title or _title(summaries, labels), 200), theme, runs, group_tasks(summaries))


def _title(summaries: Sequence[Summary], labels: Sequence[str]) -> str:
    if len(summaries) > 1:
        model = summaries[0].model
        is_one = all(summary.model == model for summary in summaries)
        names = run_marks(summaries) if is_one else labels
        return f"{visible(model, 40) + ': ' if is_one else ''}{', '.join(names[:-1])} and {names[-1]}"
    window = summaries[0].window
    return labels[0] if window is None else f"{labels[0]}: {window:,} tokens advertised"


@dataclass(frozen=True, slots=True)
class Section:
    """One task of a page."""

    index: int
    group: TaskGroup
    curve: markupsafe.Markup
    """<svg>; every text in it was escaped by what drew it."""

    differences: tuple[RunDifference, ...]

    @property
    def has_cells(self) -> bool:
        return any(series.task.cells for series in self.group.series)

    @property
    def is_fitted(self) -> bool:
        """Whether a run was adaptive."""
        return any(series.task.analysis.fitted for series in self.group.series)

    @property
    def has_worse(self) -> bool:
        return any(series.task.analysis.worse for series in self.group.series)

    @property
    def has_past(self) -> bool:
        return any(series.summary.is_past(series.summary.lengths[-1]) for series in self.group.series)

    @property
    def has_failures(self) -> bool:
        return any(point.counts.num_failed for series in self.group.series for point in series.task.points)

    @property
    def has_controls(self) -> bool:
        return any(series.task.controls for series in self.group.series)


def curve_alt(group: TaskGroup) -> str:
    """What a curve shows, for those who do not see it."""
    parts = []
    for series in group.series:
        points = ", ".join(
            f"{axis_label(r.length)} {r.accuracy:.0%} of {r.counts.num_scored}"
            for r in series.task.points
            if r.accuracy is not None
        )
        parts.append(f"{series.label}: {points or 'no scored answers'}")
    return f"Accuracy on {visible(group.name, 60)} by context length. {'; '.join(parts)}."


def bars_alt(summaries: Sequence[Summary]) -> str:
    """What the bars show, for those who do not see them."""
    parts = []
    for label, summary in zip(run_labels(summaries), summaries, strict=True):
        bars = [f"{bar.name} {bar.task.partition(':')[0]} {bar.label}" for bar in summary.capacities]
        parts.append(f"{label}: {', '.join(' '.join(bar.split()) for bar in bars)}")
    return f"Tokens advertised and measured. {visible('; '.join(parts), 600)}."


def render_html(report: Report) -> str:
    """The page: one file that needs nothing else, and may not ask for anything either."""
    sections = [
        Section(index, group, _curve(group, report.theme, f"c{index}"), group_differences(group))
        for index, group in enumerate(report.groups)
    ]
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    bars = inline_svg(draw_bars(report.summaries, report.theme), "bars", bars_alt(report.summaries))
    values: dict[str, Any] = {
        "title": report.title,
        "theme": report.theme,
        "runs": report.runs,
        "sections": sections,
        "bars": markupsafe.Markup(bars),
        "has_canaries": any(summary.reach for summary in report.summaries),
        "has_server": any(summary.server for summary in report.summaries),
        "has_addressable": any(summary.addressable and not summary.reach for summary in report.summaries),
        "rule": report.groups[0].series[0].task.verdict.rule,
        "details": click_details(report.groups),
        "css": markupsafe.Markup(_asset("page.css")),
        "script": markupsafe.Markup(script),
        "script_hash": f"sha256-{digest}",
        "scale": f"linear-gradient(to right, {', '.join(colour(step / 10) for step in range(11))})",
        "cell_key": cell_key,
        "explain": explain,
    }
    return _environment(autoescape=True).get_template("report.html.j2").render(values)


def _curve(group: TaskGroup, theme: Theme, key: str) -> markupsafe.Markup:
    return markupsafe.Markup(inline_svg(draw_curve(group, theme), key, curve_alt(group)))


def explain(series: Series, cell: CellResult) -> str:
    """What hovering over a cell tells."""
    worse = (cell.length, cell.depth) in series.task.analysis.worse
    mark = "; worse than the rest of its length, corrected for the number of cells" if worse else ""
    return cell.explanation + mark


def render_markdown(report: Report, pictures: dict[str, str]) -> str:
    """The same as Markdown; `pictures` are files beside it, each with its alternative text."""
    values = {"title": report.title, "runs": report.runs, "pictures": pictures}
    values["sections"] = [(group.name, group_differences(group)) for group in report.groups]
    return _environment(autoescape=False).get_template("report.md.j2").render(values)


def _asset(name: str) -> str:
    return (resources.files("longctx.report") / "templates" / name).read_text(encoding="utf-8")


@functools.cache  # a template is compiled once
def _environment(autoescape: bool) -> jinja2.Environment:
    environment = open_templates("longctx.report", autoescape)
    environment.filters |= {"tokens": axis_label, "colour": colour, "ink_on": ink_on}
    environment.filters |= {"percent": lambda value: f"{value:.0%}", "points": lambda value: f"{100 * value:+.0f}"}
    environment.filters |= FILTERS
    environment.filters["brief"] = lambda text: visible(str(text), 200)
    return environment
