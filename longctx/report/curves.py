"""Accuracy by context length, with bands and the controls beside them."""

from __future__ import annotations

from math import log2

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from longctx.report.groups import Series, TaskGroup
from longctx.report.theme import MARKERS, WIDTH, Theme, axis_label, lay_out, readable_ticks, style
from longctx.statistics.curve import FittedCurve

_CONTROL_NAMES = {"closed_book": "question\nalone", "short": "facts\nalone"}
_CONTROL_STEP = 0.11
"""Of the axis' length, that a control takes at its left."""
_DODGE = 0.012


def draw_curve(group: TaskGroup, theme: Theme) -> Figure:
    """One task over a logarithmic axis of context lengths."""
    with matplotlib.rc_context(style(theme)):
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        axes = figure.subplots()
        octaves = max(1.0, log2(group.lengths[-1]) - log2(group.lengths[0]))
        ticks = _draw_controls(axes, group, theme, octaves)
        for place, series in enumerate(group.series):
            _draw_series(axes, series, theme, (place - (len(group.series) - 1) / 2) * _DODGE * octaves)
        _draw_rule(axes, group, theme)
        _draw_window(axes, group, theme, octaves)
        _label_axes(axes, group, theme, octaves, ticks)
        if len(group.series) > 1:
            axes.legend(fontsize=8, frameon=False, loc="lower left", ncols=2, bbox_to_anchor=(0, 1.06), borderaxespad=0)
        lay_out(figure)
    return figure


def _draw_series(axes: Axes, series: Series, theme: Theme, shift: float) -> None:
    hue, marker = theme.series[series.index], MARKERS[series.index]
    if series.task.analysis.fitted is not None:
        _draw_fitted(axes, series.task.analysis.fitted, hue, shift)
    shown = [point for point in series.task.points if point.interval]
    intervals = [point.interval for point in shown]
    x = [log2(result.length) + shift for result in shown]
    y = [result.accuracy or 0.0 for result in shown]
    low = [interval.low for interval in intervals if interval]
    high = [interval.high for interval in intervals if interval]
    if series.task.analysis.fitted is None:
        axes.fill_between(x, low, high, color=hue, alpha=0.16, lw=0)
        axes.plot(x, y, color=hue, lw=1.3)
    axes.vlines(x, low, high, color=hue, lw=1.1)
    axes.plot([], [], marker, ls="-", ms=5.5, color=hue, label=series.label)
    for at, accuracy, result in zip(x, y, shown, strict=True):
        hollow = series.summary.is_past(result.length)
        axes.plot(at, accuracy, marker, ms=5.5, color=hue, mfc=theme.paper if hollow else hue)
    for point in series.task.points:
        if point.counts.num_failed:
            axes.plot(log2(point.length) + shift, -0.04, "x", ms=6, mew=1.8, color=theme.alarm, clip_on=False)


def _draw_fitted(axes: Axes, fitted: FittedCurve, hue: str, shift: float) -> None:
    """An adaptive sweep's curve and its band; its raw rates are points without a line."""
    x = [log2(length) + shift for length in fitted.lengths]
    low, high = [one.low for one in fitted.intervals], [one.high for one in fitted.intervals]
    axes.fill_between(x, low, high, color=hue, alpha=0.16, lw=0)
    axes.plot(x, fitted.accuracies, color=hue, lw=1.6, ls="--")


def _draw_controls(axes: Axes, group: TaskGroup, theme: Theme, octaves: float) -> dict[float, str]:
    """Points left of the shortest length; returns the labels of their places."""
    names = [
        name for name in _CONTROL_NAMES if any(name == c.control for one in group.series for c in one.task.controls)
    ]
    first = log2(group.lengths[0])
    places = {name: first - (index + 1) * _CONTROL_STEP * octaves for index, name in enumerate(reversed(names))}
    for one in group.series:
        shift = (one.index - (len(group.series) - 1) / 2) * _DODGE * octaves
        for result in one.task.controls:
            interval, accuracy, hue = result.counts.interval, result.counts.accuracy, theme.series[one.index]
            if interval is None or accuracy is None:
                continue
            at = places[result.control] + shift
            axes.vlines(at, interval.low, interval.high, color=hue, lw=1.1, ls=(0, (2, 1)))
            axes.plot(at, accuracy, MARKERS[one.index], ms=5.5, color=hue, mfc=theme.paper)
    if places:
        axes.axvline(first - 0.5 * _CONTROL_STEP * octaves, color=theme.faint, lw=1)
    return {place: _CONTROL_NAMES[name] for name, place in places.items()}


def _draw_rule(axes: Axes, group: TaskGroup, theme: Theme) -> None:
    threshold = group.series[0].task.verdict.effective.threshold
    axes.axhline(threshold, color=theme.grey, lw=0.9, ls=":")
    axes.set_yticks([0, 0.25, 0.5, 0.75, threshold, 1], ["0 %", "", "50 %", "", f"rule {threshold:.1%}", "100 %"])


def _draw_window(axes: Axes, group: TaskGroup, theme: Theme, octaves: float) -> None:
    """A line at the advertised window, or an arrow towards it."""
    if group.window is None:
        return
    name, last = f"advertised {axis_label(group.window)}", log2(group.lengths[-1])
    if log2(group.window) <= last:
        axes.axvline(log2(group.window), color=theme.alarm, lw=1.3, ls="--")
        place, side = log2(group.window), "center" if group.window < group.lengths[-1] else "right"
    else:
        place, side, name = last + 0.05 * octaves, "right", f"{name} →"
    axes.text(place, 1.07, name, color=theme.alarm, fontsize=8, ha=side, va="bottom")


def _label_axes(axes: Axes, group: TaskGroup, theme: Theme, octaves: float, controls: dict[float, str]) -> None:
    places = [log2(length) for length in group.lengths]
    stated = group.lengths.index(group.window) if group.window in group.lengths else len(places) - 1
    kept = readable_ticks(places, 0.075 * octaves, stated)
    labels = {places[index]: _tick(group, group.lengths[index]) for index in kept} | controls
    axes.set_xticks(list(labels), list(labels.values()), fontsize=8)
    axes.set_xticks([place for place in places if place not in labels], minor=True)
    axes.set(
        xlim=(min([*controls, places[0]]) - 0.06 * octaves, places[-1] + 0.06 * octaves),
        ylim=(-0.06, 1.05),
        ylabel="accuracy",
        xlabel="context length in tokens",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=theme.faint, lw=0.6)
    axes.set_axisbelow(True)


def _tick(group: TaskGroup, length: int) -> str:
    """The length, and under it n."""
    numbers = [p.counts.num_scored for one in group.series for p in one.task.points if p.length == length]
    least, most = min(numbers), max(numbers)
    return f"{axis_label(length)}\nn={least}" + (f"–{most}" if most > least else "")
