"""What a check found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from longctx.check.finding import Finding
from longctx.terminal.format import new_console

_STYLES = {"passes": "green", "differs": "bold red", "warns": "yellow", "skipped": "dim"}


def print_findings(findings: Iterable[Finding]) -> int:
    """The table of a check, printed when all is known; returns how many findings differ."""
    console = new_console()
    table = Table(box=None, pad_edge=False)
    for heading in ("check", "where", "", "figure", "meaning"):
        table.add_column(heading)
    counts: Counter[str] = Counter()
    with console.status("checking") as status:
        for finding in findings:
            status.update(f"checking: after {escape(finding.name)}, {escape(finding.where)}")
            counts[finding.verdict] += 1
            verdict = f"[{_STYLES[finding.verdict]}]{finding.verdict}[/]"
            cells = map(escape, (finding.figure, finding.meaning))
            table.add_row(escape(finding.name), escape(finding.where), verdict, *cells)
    console.print(table)
    console.print(", ".join(f"{counts[verdict]} {verdict}" for verdict in _STYLES if counts[verdict]))
    return counts["differs"]
