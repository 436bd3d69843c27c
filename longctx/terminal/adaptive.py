"""An adaptive sweep before it starts, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from longctx.lengths import format_length
from longctx.records import Row
from longctx.terminal.format import format_flops, format_seconds, new_console

if TYPE_CHECKING:
    from longctx.sweep.adaptive import AdaptiveDesign

_STOPPED = {
    "decided": "one effective length is probable enough",
    "budget": "no further trial fits into the budget",
    "exhausted": "every length has had all its trials, or failed",
}


def print_design(design: AdaptiveDesign, left_flops: int, rate: float, folder: Path) -> None:
    """Print what an adaptive sweep may take, at `rate` operations a second."""
    new_console().print(
        f"adaptive, for the effective length under the rule {design.family.rule.name}: at most "
        f"{format_flops(left_flops)}FLOP more, about {format_seconds(left_flops / rate)}, of the "
        f"{format_flops(design.grid_flops)}FLOP that the grid takes, into {escape(str(folder))}"
    )


def print_fit(design: AdaptiveDesign, rows: Sequence[Row]) -> None:
    """Print the fitted curve, the effective length with its interval, and why the sweep stopped."""
    console, curve = new_console(), design.fit(rows)
    table = Table(box=None, pad_edge=False, title="adaptive: fitted curve", title_justify="left")
    for heading in ("length", "accuracy", "95 %", "samples"):
        table.add_column(heading, justify="right", no_wrap=True)
    for length, accuracy, interval, num in zip(
        curve.lengths, curve.accuracies, curve.intervals, curve.num_scored, strict=True
    ):
        table.add_row(format_length(length), f"{accuracy:.0%}", f"{interval.low:.0%}-{interval.high:.0%}", str(num))
    console.print(table)
    found = curve.effective
    console.print(
        f"[bold]Effective length under the rule {found.rule.name}, fitted: {found.say(found.value)} "
        f"(95 % interval: {found.say(found.low)} to {found.say(found.high)}).[/]"
    )
    stop = design.next(rows)
    reason = _STOPPED[stop] if isinstance(stop, str) else "interrupted, or samples failed"
    spent = design.spent(rows)
    console.print(
        f"Rule: {found.rule.text}. Documents were placed where they told most, so raw rates are biased and the "
        f"curve is what counts. Stopped: {reason}; {format_flops(spent)}FLOP, {spent / design.grid_flops:.0%} of the "
        "grid.",
        style="dim",
    )
