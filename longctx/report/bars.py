"""Advertised against measured: one bar for each length that a model states or was found to have."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from longctx.pages import visible
from longctx.report.capacity import Capacity
from longctx.report.groups import run_labels
from longctx.report.summary import Summary
from longctx.report.theme import WIDTH, Theme, axis_label, lay_out, style

_ROW = 0.3


def draw_bars(summaries: Sequence[Summary], theme: Theme) -> Figure:
    """All runs' capacities over a logarithmic axis, a group of bars for each run."""
    labels = run_labels(summaries)
    groups = [summary.capacities for summary in summaries]
    num_rows = sum(map(len, groups)) + (len(groups) if len(groups) > 1 else 0)
    shown = [length for group in groups for bar in group for length in _lengths(bar)]
    first, last = log2(min(shown)) - 1, log2(max(shown))
    with matplotlib.rc_context(style(theme)):
        figure = Figure(figsize=(WIDTH, 0.75 + _ROW * num_rows), layout="constrained")
        axes = figure.subplots()
        row, names = 0, {}
        for index, (label, bars) in enumerate(zip(labels, groups, strict=True)):
            if len(groups) > 1:
                axes.text(first, row, label, va="center", fontweight="bold", color=theme.series[index])
                row += 1
            for bar in bars:
                _draw_bar(axes, row, bar, first, theme, theme.series[index if len(groups) > 1 else 1])
                names[row] = f"{bar.name}: {visible(bar.task.partition(':')[0], 24)}" if bar.task else bar.name
                row += 1
        axes.set(xlim=(first, last + 0.28 * (last - first)), ylim=(num_rows - 0.4, -0.6))
        axes.set_yticks(list(names), list(names.values()))
        _label_lengths(axes, first, last, theme)
        lay_out(figure)
    return figure


def _lengths(bar: Capacity) -> list[int]:
    return [length for length in (bar.value, bar.low, bar.high, *(bar.tested or ())) if length is not None]


def _draw_bar(axes: Axes, row: int, bar: Capacity, first: float, theme: Theme, hue: str) -> None:
    """A bar to the value; a line from the interval's lower to its upper end, open where that is not known."""
    stated = bar.name == "advertised"
    if bar.value is not None:
        face, edge = (theme.paper, theme.alarm) if stated else (to_rgba(hue, 0.4), hue)
        axes.barh(row, log2(bar.value) - first, left=first, height=0.62, color=face, edgecolor=edge, lw=1.2)
    end = first if bar.value is None else log2(bar.value)
    if bar.tested is not None and bar.task:
        low = first + 0.15 if bar.low is None else log2(bar.low)
        high = first + 0.5 if bar.high is None else log2(bar.high)
        axes.plot([low, high], [row, row], color=theme.ink, lw=1.4, solid_capstyle="butt")
        axes.plot(low, row, "|" if bar.low is not None else "<", color=theme.ink, ms=7, mew=1.4)
        axes.plot(high, row, ">" if bar.high == bar.tested[1] else "|", color=theme.ink, ms=7, mew=1.4)
        end = max(end, high)
    axes.annotate(
        _short_label(bar), (end, row), xytext=(9, 0), textcoords="offset points", va="center", color=theme.ink
    )


def _short_label(bar: Capacity) -> str:
    if bar.value is None:
        return "unknown" if bar.tested is None else f"under {axis_label(bar.tested[0])}"
    at_least = "≥ " if bar.tested is not None and bar.value == bar.tested[1] else ""
    return f"{at_least}{axis_label(bar.value)}"


def _label_lengths(axes: Axes, first: float, last: float, theme: Theme) -> None:
    powers = range(int(first) + 1, int(last) + 1)
    step = -(-len(powers) // 10)
    kept = [2**power for power in powers if power % step == 20 % step]  # 2^20 is 1M
    axes.set_xticks([log2(length) for length in kept], [axis_label(length) for length in kept], fontsize=8)
    axes.set_xlabel("tokens (logarithmic)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=theme.faint, lw=0.6)
    axes.set_axisbelow(True)
