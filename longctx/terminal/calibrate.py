"""What a calibration found."""

from __future__ import annotations

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from longctx.calibrate.result import CaseResult
from longctx.lengths import format_length
from longctx.terminal.format import new_console


def print_results(results: Iterable[CaseResult], num_cases: int) -> list[CaseResult]:
    """The table of a calibration, printed when all is known; returns the results."""
    console, found = new_console(), []
    table = Table(box=None, pad_edge=False)
    for heading in ("phantom", "to", "cells", "as designed", "misses", "false alarms", "edge: designed / measured", ""):
        table.add_column(heading, justify="left" if heading in ("phantom", "") else "right", no_wrap=True)
    with console.status("calibrating") as status:
        for result in results:
            found.append(result)
            status.update(f"calibrating: {len(found)} of {num_cases}, after {escape(result.case.name)}")
            counts = result.counts
            table.add_row(
                escape(result.case.name),
                format_length(max(result.case.config.lengths)),
                str(result.num_cells),
                f"{counts['as designed']}/{len(result.judged) - counts['near an edge']}",
                str(counts["miss"]),
                str(counts["false alarm"]),
                "; ".join(result.edges_told) or "–",
                f"[{'green' if result.ok else 'bold red'}]{escape(result.verdict)}[/]",
            )
    table.width = console.measure(table, options=console.options.update(max_width=240)).maximum
    console.print(table)
    cells = sum(result.num_cells for result in found)
    off = sum(not result.ok for result in found)
    answers = sum(len(result.judged) - result.counts["near an edge"] for result in found)
    wrong = sum(len(result.off) for result in found)
    console.print(
        f"{wrong} of {answers} answers in {cells} cells contradict the design; "
        f"{off} of {len(found)} phantoms are off" + ("" if off else ": this stack measures what is there")
    )
    return found
