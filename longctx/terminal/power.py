"""How many trials a comparison takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from longctx.terminal.format import new_console

if TYPE_CHECKING:
    from longctx.statistics.power import Comparison, Need


def print_needs(comparison: Comparison, needs: Sequence[Need], num_depths: int, correlation: float) -> None:
    """Print samples and trials by comparison, and what was assumed."""
    console = new_console()
    high, low = comparison.accuracy, comparison.accuracy - comparison.effect
    console.print(
        f"To tell {high:.0%} from {low:.0%} right, with power {comparison.power:.0%} at {comparison.alpha:.0%}:"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("comparison")
    for heading in ("samples a side", f"trials of {num_depths} depths"):
        table.add_column(heading, justify="right", no_wrap=True)
    for need in needs:
        table.add_row(need.what, f"{need.num_samples:,}", f"{need.num_trials:,}")
    console.print(table)
    console.print(
        f"Pairs: {comparison.discordant:.1%} with one right and one wrong (McNemar's test). Samples are counted as "
        f"independent; trials as correlated by {correlation:g} within a length.",
        style="dim",
    )
