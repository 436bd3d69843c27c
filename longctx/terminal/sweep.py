"""A sweep while it is planned, runs and ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from longctx.config import SweepConfig
from longctx.lengths import format_length
from longctx.pages import visible
from longctx.records import Row
from longctx.statistics.power import sweep_power
from longctx.terminal.format import format_bytes, format_seconds, new_console

if TYPE_CHECKING:
    from longctx.engine.loading import ModelCard
    from longctx.report.summary import Summary, TaskSummary
    from longctx.sweep.plan import Plan

_LINE_EVERY_SHARE = 0.05


def print_plan(plan: Plan, config: SweepConfig, card: ModelCard, rate: float) -> None:
    """Print what will be done and what it costs in both designs, at `rate` floating-point operations a second."""
    console = new_console()
    beyond = [length for length in config.lengths if length > card.window]
    name = escape(card.source.name)
    console.print(f"[bold]{name}[/], {card.window:,} tokens advertised; {config.dtype} on {config.device}")
    console.print(
        f"lengths {', '.join(map(format_length, config.lengths))}; "
        f"depths {', '.join(f'{depth:.0%}' for depth in config.depths)}; "
        f"{config.trials} trials; {', '.join(config.task)}; {config.template} template"
    )
    if beyond:
        console.print(f"[yellow]past the advertised window: {', '.join(map(format_length, beyond))}[/]")
    table = Table(box=None, pad_edge=False)
    for heading in ("design", "cells", "samples", "documents", "prompt tokens", "to prefill", "time"):
        table.add_column(heading, justify="left" if heading == "design" else "right", no_wrap=True)
    for design, cost in plan.costs.items():
        mark = f"{'>' if design == config.design else ' '} {design}"
        if isinstance(cost, str):
            console.print(f"{design} cannot be had: {escape(cost)}", style="yellow")
            continue
        counts = (cost.num_cells, cost.num_samples, cost.num_documents, cost.num_prompt_tokens, cost.num_prefill_tokens)
        table.add_row(mark, *(f"{n:,}" for n in counts), f"~{format_seconds(cost.flops / rate)}")
    console.print(table)
    console.print(
        f"KV cache of one prompt at {format_length(max(config.lengths))}: {format_bytes(plan.kv_bytes)}; "
        f"chunks of {config.chunk} tokens; time at {rate / 1e9:,.0f} GFLOP/s, a share of this machine's matrix "
        f"product just now"
    )
    for warning in sweep_power(config.trials, len(config.depths), len(config.lengths)).warnings:
        console.print(f"[yellow]! {escape(warning)}[/]")


def print_todo(num_todo: int, num_samples: int, seconds: float | None, folder: Path) -> None:
    """Print what of the plan is left to do; of a server nobody knows how long that takes."""
    about = f" in about {format_seconds(seconds)}" if num_todo and seconds is not None else ""
    new_console().print(f"{num_todo} of {num_samples} samples to run{about}, into {escape(str(folder))}")


class SweepProgress:
    """Progress by floating-point operations: a bar on a terminal, lines elsewhere. A context manager."""

    def __init__(
        self,
        total_flops: int,
        num_samples: int,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or new_console()
        self._clock = clock
        self._total = max(1, total_flops)
        self._num_samples = num_samples
        self._done = self._rows = self._right = self._failed = 0
        self._next_line = _LINE_EVERY_SHARE
        self._started = clock()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            disable=not self._console.is_terminal,
            speed_estimate_period=300,
        )
        self._bar_id = self._bar.add_task(self._describe(), total=self._total)

    def _describe(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._rows}/{self._num_samples} samples, {self._right} right{failed}"

    def __enter__(self) -> SweepProgress:
        self._started = self._clock()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    @property
    def flops(self) -> int:
        """Floating-point operations done so far."""
        return self._done

    @property
    def seconds(self) -> float:
        """Since it was entered."""
        return self._clock() - self._started

    def add_row(self, row: Row) -> None:
        self._rows += 1
        self._right += row.score == 1.0
        self._failed += row.status != "ok"
        self._bar.update(self._bar_id, description=self._describe())

    def add_flops(self, flops: int) -> None:
        self._done += flops
        self._bar.update(self._bar_id, completed=self._done)
        share = self._done / self._total
        if self._console.is_terminal or share < self._next_line:
            return
        self._next_line = share + _LINE_EVERY_SHARE
        elapsed = self.seconds
        left = elapsed * max(0.0, 1 - share) / share
        self._console.print(
            f"{share:4.0%}  {self._describe()}  {format_seconds(elapsed)} gone, about {format_seconds(left)} left"
        )


def print_summary(summary: Summary) -> None:
    """The tables and the verdicts that a sweep ends with."""
    console = new_console()
    for task in summary.tasks:
        console.print(_table(summary, task))
        for result in task.controls:
            counts = result.counts
            console.print(f"control, {result.shown}: {counts.num_right}/{counts.num_scored} right", style="dim")
        console.print(f"[bold]{escape(visible(task.verdict.sentence, 2000))}[/]")
        for warning in filter(None, (result.warning for result in task.controls)):
            console.print(f"[yellow]! {escape(warning)}[/]")
        console.print("\n".join([task.verdict.rule, *task.verdict.notes]), style="dim")
    if summary.is_past(summary.lengths[-1]):
        console.print("* past the advertised window", style="dim")
    if summary.server and summary.server.warning:
        console.print(f"[yellow]! {escape(summary.server.warning)}[/]")
    if summary.failed:
        console.print(f"[red]! {len(summary.failed)} samples have no score; the same command tries them again.[/]")


def _table(summary: Summary, task: TaskSummary) -> Table:
    """Right of scored by depth and length, and all depths together with their interval."""
    table = Table(box=None, pad_edge=False, title=escape(visible(task.name)), title_justify="left")
    table.add_column("depth", justify="right")
    for length in summary.lengths:
        table.add_column(format_length(length) + ("*" if summary.is_past(length) else ""), justify="right")
    for depth in summary.depths if task.cells else ():
        table.add_row(f"{depth:.0%}", *(task.cell(length, depth).label for length in summary.lengths))
    table.add_section()
    intervals = [point.interval for point in task.points]
    table.add_row("all", *(f"{p.counts.num_right}/{p.counts.num_scored}" for p in task.points), style="bold")
    table.add_row("95 %", *("–" if i is None else f"{i.low:.0%}-{i.high:.0%}" for i in intervals), style="dim")
    return table
