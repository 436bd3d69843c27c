"""The picture: accuracy by length with intervals, over a heatmap of depth by length for each run."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from longctx.report.cells import CellResult
from longctx.report.groups import Series, TaskGroup
from longctx.report.theme import (
    MARKERS,
    WIDTH,
    Theme,
    axis_label,
    colour,
    ink_on,
    lay_out,
    readable_ticks,
    style,
)

_CURVE, _ROW, _HEADING = 1.7, 0.34, 0.75
"""Inches of height: of the curve, a depth's row, and what stands around a heatmap."""
_MAX_LABELLED = 14
"""Columns beyond which right/scored does not fit into a cell."""
_COLUMNS_WIDTH, _DIGIT, _LETTER = 5.7, 0.64, 0.69
"""Inches that all cells take; widths of characters, of their height."""
_TITLE_CHARACTERS = 68
"""In a line of the title; 200 of them are three lines."""
_FONT, _SMALLEST_FONT = 8.0, 6.5
"""Points: 11 and 9 pixels."""


def draw_heatmap(group: TaskGroup, theme: Theme, title: str) -> Figure:
    """One task of all runs: their curves over one another, their heatmaps below one another, columns aligned."""
    maps = [series for series in group.series if series.task.cells]
    heights = [_CURVE, *(_ROW * len(series.summary.depths) + 0.3 for series in maps)]
    with matplotlib.rc_context(style(theme)):
        figure = Figure(figsize=(WIDTH, sum(heights) + _HEADING + 0.3 * len(maps)), layout="constrained")
        panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for place, series in enumerate(group.series):
            _draw_points(panels[0], group, series, theme, 0.14 * (place - (len(group.series) - 1) / 2))
        _finish_curve(panels[0], group, theme, with_ticks=not maps)
        for axes, series in zip(panels[1:], maps, strict=True):
            _draw_cells(axes, group, series, theme)
        if maps:
            panels[-1].set_xlabel("context length in tokens")
        figure.suptitle(
            textwrap.fill(title, _TITLE_CHARACTERS), fontsize=11, fontweight="bold", x=0.01, ha="left", color=theme.ink
        )
        figure.supxlabel(_caption(group, bool(maps)), fontsize=7.5, color=theme.grey)
        lay_out(figure)
    return figure


def _caption(group: TaskGroup, has_maps: bool) -> str:
    designs = " and ".join(sorted({series.summary.design for series in group.series}))
    if any(series.task.analysis.fitted for series in group.series):
        designs += " documents, placed adaptively; dashed: the fitted curve · points: raw rates of"
    marked = any(series.task.analysis.worse for series in group.series)
    labelled = f"cells: right/scored, ! others failed{', ▾ worse than the rest of its length' if marked else ''} · "
    bare = "the lighter the more are right, crossed: no score, struck: not run · "
    cells = "" if not has_maps else labelled if len(group.lengths) <= _MAX_LABELLED else bare
    return f"{designs} documents · {cells}bars: 95 % intervals · longctx"


def _draw_points(axes: Axes, group: TaskGroup, series: Series, theme: Theme, shift: float) -> None:
    hue, fitted = theme.series[series.index], series.task.analysis.fitted
    if fitted is not None:
        axes.plot(
            [group.lengths.index(x) + shift for x in fitted.lengths], fitted.accuracies, color=hue, ls="--", lw=1.6
        )
    for result in series.task.points:
        interval, accuracy = result.interval, result.accuracy
        if interval is None or accuracy is None:
            continue
        at = group.lengths.index(result.length) + shift
        axes.vlines(at, interval.low, interval.high, color=hue, lw=1.4)
        hollow = series.summary.is_past(result.length)
        axes.plot(at, accuracy, MARKERS[series.index], ms=5.5, color=hue, mfc=theme.paper if hollow else hue)
    axes.plot([], [], MARKERS[series.index], color=hue, label=series.label)


def _finish_curve(axes: Axes, group: TaskGroup, theme: Theme, with_ticks: bool) -> None:
    threshold = group.series[0].task.verdict.effective.threshold
    axes.axhline(threshold, color=theme.grey, lw=0.9, ls=":")
    axes.set(xlim=(-0.5, len(group.lengths) - 0.5), ylim=(-0.05, 1.05), ylabel="accuracy")
    axes.set_yticks([0, 0.5, threshold, 1], ["0 %", "50 %", f"rule {threshold:.1%}", "100 %"])
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(group.name, fontsize=9, loc="left", color=theme.grey)
    if len(group.series) > 1:
        axes.legend(fontsize=8, frameon=False, loc="lower left")
    _label_lengths(axes, group, theme, shown=with_ticks)
    _mark_window(axes, group.lengths, group.window, theme, labelled=True)


def _label_lengths(axes: Axes, group: TaskGroup, theme: Theme, shown: bool) -> None:
    if not shown:
        axes.set_xticks([])
        return
    places = list(map(float, range(len(group.lengths))))
    kept = readable_ticks(places, len(places) / _MAX_LABELLED if len(places) > _MAX_LABELLED else 1.0)
    axes.set_xticks(kept, [axis_label(group.lengths[index]) for index in kept])
    axes.tick_params(length=0)
    for label, index in zip(axes.get_xticklabels(), kept, strict=True):
        past = group.window is not None and group.lengths[index] > group.window
        label.set_color(theme.alarm if past else theme.ink)


def _draw_cells(axes: Axes, group: TaskGroup, series: Series, theme: Theme) -> None:
    depths = series.summary.depths
    for x, length in enumerate(group.lengths):
        for y, depth in enumerate(depths):
            if length in series.summary.lengths:
                cell = series.task.cell(length, depth)
                label = _fit(cell, series.task.mark(cell), len(group.lengths))
                _draw_cell(axes, x, y, cell, theme, label)
    axes.set(xlim=(-0.5, len(group.lengths) - 0.5), ylim=(len(depths) - 0.5, -0.5), ylabel="depth")
    if len(group.series) > 1:
        axes.set_title(series.label, fontsize=9, loc="left", color=theme.series[series.index])
    rows = readable_ticks(list(map(float, range(len(depths)))), 1.0)
    axes.set_yticks(rows, [f"{depths[index]:.0%}" for index in rows])
    _label_lengths(axes, group, theme, shown=True)
    axes.spines[:].set_visible(False)
    _mark_window(axes, group.lengths, series.summary.window, theme, labelled=False)


@dataclass(frozen=True, slots=True)
class _Label:
    """What stands in a cell; the text is empty where nothing would fit."""

    text: str
    points: float = _FONT


def _fit(cell: CellResult, mark: str, num_columns: int) -> _Label:
    """The label of a cell in letters that stay inside it; a status may be broken or cut, a count never is."""
    if num_columns > _MAX_LABELLED:
        return _Label("")
    points = _COLUMNS_WIDTH / num_columns * 72
    if cell.counts.num_scored:
        text = f"{cell.label}{mark}"
        fitting = min(_FONT, points / len(text) / _DIGIT)
        return _Label(text, fitting) if fitting >= _SMALLEST_FONT else _Label("")
    lines = cell.label.replace("_", "_\n").split("\n")
    fitting = max(_SMALLEST_FONT, min(_FONT, points / max(map(len, lines)) / _LETTER))
    room = int(points / fitting / _LETTER)
    return _Label("\n".join(line if len(line) <= room else f"{line[: room - 1]}…" for line in lines), fitting)


def _draw_cell(axes: Axes, x: int, y: int, cell: CellResult, theme: Theme, label: _Label) -> None:
    corner, accuracy = (x - 0.48, y - 0.46), cell.counts.accuracy
    if accuracy is not None:
        # In grey a wholly wrong cell is as dark as the dark theme's paper: its frame shows it.
        axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=colour(accuracy), edgecolor=theme.grey, lw=0.4))
        ink, background = ink_on(accuracy), None
    else:
        ink = theme.alarm if cell.failures else theme.grey
        hatch = "xxx" if cell.failures else "//"
        axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=theme.paper, edgecolor=ink, hatch=hatch, lw=0.8))
        background = {"facecolor": theme.paper, "edgecolor": "none", "pad": 1.0}
    if label.text:
        shown = axes.text(x, y, label.text, ha="center", va="center", color=ink, bbox=background)
        shown.set(fontsize=label.points, linespacing=0.95)


def _mark_window(axes: Axes, lengths: Sequence[int], window: int | None, theme: Theme, labelled: bool) -> None:
    """A line between the last length inside the advertised window and the first one past it, where the grid has one."""
    inside = 0 if window is None else sum(length <= window for length in lengths)
    if window is None or inside == 0:
        return
    reached = window <= lengths[-1]
    if reached:
        axes.axvline(inside - 0.5, color=theme.alarm, lw=1.4, ls="--", clip_on=False)
    if not labelled:
        return
    notes = [(f"advertised {axis_label(window)}" + ("" if reached else " →"), "right", -4)]
    if inside < len(lengths):
        notes.append(("past it", "left", 4))
    for text, side, offset in notes:
        axes.annotate(
            text,
            (inside - 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(offset, 3),
            textcoords="offset points",
            ha=side,
            fontsize=8,
            color=theme.alarm,
        )
