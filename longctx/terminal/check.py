"""What a check found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape

from longctx.check.finding import Finding
from longctx.terminal.format import new_console

_STYLES = {"passes": "green", "differs": "bold red", "warns": "yellow", "skipped": "dim"}
# Of the columns before the last; what is longer pushes the rest of its own line.
_NAME, _WHERE, _FIGURE = 29, 46, 12


def print_findings(findings: Iterable[Finding], console: Console | None = None) -> int:
    """A line for each finding as soon as it is known, then the counts; returns how many differ."""
    console = console or new_console()
    counts: Counter[str] = Counter()
    with console.status("checking"):
        for finding in findings:
            counts[finding.verdict] += 1
            verdict = f"[{_STYLES[finding.verdict]}]{finding.verdict:<7}[/]"
            cells = f"{finding.name:<{_NAME}} {finding.where:<{_WHERE}} {finding.figure:<{_FIGURE}} {finding.meaning}"
            console.print(f"{verdict}  {escape(cells.rstrip())}")
    console.print(", ".join(f"{counts[verdict]} {verdict}" for verdict in _STYLES if counts[verdict]))
    return counts["differs"]
