"""The picture: accuracy by length with intervals, over a heatmap of depth by length."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from longctx.lengths import format_length
from longctx.report.summary import CellResult, Summary, TaskSummary

# Even steps of lightness: the same order for every eye, and in black and white.
_COLOURS = matplotlib.colormaps["cividis"]
_INK, _GREY, _ALARM = "#1a1a1a", "#767676", "#b2182b"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.hashsalt": "longctx",
    "hatch.linewidth": 0.6,
}


def colour(accuracy: float) -> str:
    """The heatmap's colour of an accuracy, as #rrggbb."""
    return matplotlib.colors.to_hex(_COLOURS(accuracy))


def ink(accuracy: float) -> str:
    """A text colour that reads on `colour(accuracy)`."""
    return "#ffffff" if accuracy < 0.55 else _INK


def write_pictures(summary: Summary, folder: Path) -> None:
    """Write heatmap.png and heatmap.svg; the same summary gives the same bytes."""
    with matplotlib.rc_context(_STYLE):
        figure = draw(summary)
        figure.savefig(folder / "heatmap.png", dpi=200, metadata={"Software": None})
        figure.savefig(folder / "heatmap.svg", metadata={"Date": None})


def curve_svg(summary: Summary, task: TaskSummary) -> str:
    """One task's accuracy by length with intervals, as an <svg> element for a page."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(max(5.6, 1.0 + 0.85 * len(summary.lengths)), 2.4), layout="constrained")
        axes = figure.subplots()
        _draw_curve(axes, summary, task)
        axes.set_xticks(range(len(summary.lengths)), [format_length(length) for length in summary.lengths])
        axes.set_title("", loc="left")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def draw(summary: Summary) -> Figure:
    """One column of panels for every task."""
    tasks = summary.tasks
    columns = len(summary.lengths)
    width = max(5.6, 1.6 + 0.85 * columns)
    height = 2.6 + 0.42 * len(summary.depths)
    figure = Figure(figsize=(width * len(tasks), height + 1.0), layout="constrained")
    ratios = [1.3, 0.42 * len(summary.depths)]
    axes = figure.subplots(2, len(tasks), squeeze=False, height_ratios=ratios)
    for index, task in enumerate(tasks):
        _draw_curve(axes[0][index], summary, task)
        _draw_cells(axes[1][index], summary, task)
    title = f"{summary.model}: {summary.window:,} tokens advertised"
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    figure.supxlabel(
        f"{summary.design} documents · cells: right/scored, ! others failed · bars: 95 % Wilson intervals · longctx",
        fontsize=7,
        color=_GREY,
    )
    return figure


def _draw_curve(axes: Axes, summary: Summary, task: TaskSummary) -> None:
    for x, result in enumerate(task.by_length):
        interval, accuracy = result.interval(), result.accuracy
        if interval is None or accuracy is None:
            continue
        past = result.length > summary.window
        axes.errorbar(
            x,
            accuracy,
            yerr=[[accuracy - interval.low], [interval.high - accuracy]],
            fmt="o",
            ms=5,
            color=_INK,
            mfc="white" if past else _INK,
            capsize=3,
            lw=1.2,
        )
    threshold = task.verdict.effective.threshold
    axes.axhline(threshold, color=_GREY, lw=0.8, ls=":")
    axes.set(xlim=(-0.5, len(summary.lengths) - 0.5), ylim=(-0.05, 1.05), ylabel="accuracy")
    axes.set_yticks([0, 0.5, threshold, 1], ["0 %", "50 %", f"rule {threshold:.1%}", "100 %"])
    axes.set_xticks([])
    axes.set_title(task.name, fontsize=9, loc="left", color=_GREY)
    axes.spines[["top", "right"]].set_visible(False)
    _mark_window(axes, summary, labelled=True)


def _draw_cells(axes: Axes, summary: Summary, task: TaskSummary) -> None:
    for x, length in enumerate(summary.lengths):
        for y, depth in enumerate(summary.depths):
            _draw_cell(axes, x, y, task.cell(length, depth))
    axes.set(
        xlim=(-0.5, len(summary.lengths) - 0.5),
        ylim=(len(summary.depths) - 0.5, -0.5),
        xlabel="context length in tokens",
        ylabel="depth of the needle",
    )
    axes.set_xticks(range(len(summary.lengths)), [format_length(length) for length in summary.lengths])
    for label, length in zip(axes.get_xticklabels(), summary.lengths, strict=True):
        label.set_color(_ALARM if length > summary.window else _INK)
    axes.set_yticks(range(len(summary.depths)), [f"{depth:.0%}" for depth in summary.depths])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _mark_window(axes, summary, labelled=False)


def _draw_cell(axes: Axes, x: int, y: int, cell: CellResult) -> None:
    corner = (x - 0.48, y - 0.46)
    if cell.accuracy is not None:
        axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=colour(cell.accuracy)))
        text_colour = ink(cell.accuracy)
    else:
        text_colour = _ALARM if cell.failures else _GREY
        hatch = "xxx" if cell.failures else None
        axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor="white", edgecolor=text_colour, hatch=hatch, lw=0.8))
    background = {"facecolor": "white", "edgecolor": "none", "pad": 1.0} if cell.accuracy is None else None
    axes.text(x, y, cell.label, ha="center", va="center", fontsize=8, color=text_colour, bbox=background)


def _mark_window(axes: Axes, summary: Summary, labelled: bool) -> None:
    """A line between the last length inside the advertised window and the first one past it."""
    inside = sum(length <= summary.window for length in summary.lengths)
    if inside == 0:
        return
    axes.axvline(inside - 0.5, color=_ALARM, lw=1.4, ls="--", clip_on=False)
    if not labelled:
        return
    notes = [(f"advertised {format_length(summary.window)}", "right", -4)]
    if inside < len(summary.lengths):
        notes.append(("past it", "left", 4))
    for text, side, offset in notes:
        axes.annotate(
            text,
            (inside - 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(offset, 3),
            textcoords="offset points",
            ha=side,
            fontsize=7,
            color=_ALARM,
        )
