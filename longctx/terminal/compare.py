"""A comparison while it runs and ends."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from longctx.terminal.format import new_console

if TYPE_CHECKING:
    from longctx.compare.records import Comparison


class Passes:
    """Progress over the probes of all passes: a bar on a terminal, lines elsewhere. A context manager."""

    def __init__(self, total: int) -> None:
        self._console = new_console()
        self._total, self._done = total, 0
        columns = (TextColumn("probes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._bar_id = self._bar.add_task("", total=total)

    def __enter__(self) -> Passes:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """One more probe was answered."""
        self._done += 1
        self._bar.update(self._bar_id, completed=self._done)
        if not self._console.is_terminal and self._done % max(1, self._total // 10) == 0:
            self._console.print(f"{self._done} of {self._total} probes")


def print_comparison(comparison: Comparison, folder: Path) -> None:
    """Print the table and the verdict."""
    from longctx.compare.page import effect, meaning, verdict

    console = new_console()
    table = Table(box=None, pad_edge=False)
    for heading in ("test", "length", "n", "effect (95 % interval)", "p", "corrected"):
        table.add_column(heading, justify="left" if heading in ("test", "effect (95 % interval)") else "right")
    for f in comparison.findings:
        corrected = 1.0 if f.p_corrected is None else f.p_corrected
        table.add_row(f.test, f"{f.length:,}", str(f.num), effect(f), f"{f.p:.4f}", f"{corrected:.4f}")
    console.print(table)
    console.print(f"[bold]{escape(verdict(comparison))}[/]")
    console.print(meaning(comparison), style="dim")
    console.print(f"page: {escape(str(folder / 'compare.html'))}")
