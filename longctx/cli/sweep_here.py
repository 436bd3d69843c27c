"""longctx sweep of a model that this process, or several together, load."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longctx.cli.report import redraw
from longctx.errors import ConfigError

if TYPE_CHECKING:
    from longctx.cli.start import Start
    from longctx.config import KvBudget, Layout, SweepConfig
    from longctx.engine.loading import ModelCard
    from longctx.engine.ranks import Ranks
    from longctx.records import Row, Sample
    from longctx.sweep.adaptive import AdaptiveDesign
    from longctx.sweep.plan import Plan

_MAX_UNASKED_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class _Job:
    """What is left to do of a resolved sweep."""

    config: SweepConfig
    card: ModelCard
    identity: dict[str, Any]
    folder: Path
    todo: Sequence[Sample]
    flops: int
    design: AdaptiveDesign | None

    @property
    def max_samples(self) -> int:
        """That may be answered; of an adaptive sweep, all that it chooses from."""
        return len(self.todo) if self.design is None else sum(len(step.samples) for step in self.design.steps)

    def goes_on(self, rows: Sequence[Row]) -> bool:
        return bool(self.todo) or (self.design is not None and self.design.goes_on(rows))


def run(asked: SweepConfig, budget: KvBudget, layout: Layout, start: Start) -> None:
    """Plan, answer what is missing, and draw the report."""
    from longctx.engine.layout import splits_heads
    from longctx.engine.loading import read_card
    from longctx.engine.ranks import ALONE, Ranks, join_ranks, leave_ranks
    from longctx.engine.sources import find_source, if_converted, prepare
    from longctx.engine.speed import prefill_rate
    from longctx.store import check_identity, read_rows
    from longctx.sweep.plan import make_plan, resolve
    from longctx.sweep.run import missing, samples_digest
    from longctx.sweep.shard import Shard, launched_device, launched_shard
    from longctx.terminal.adaptive import print_fit

    source = find_source(asked.model)
    # A dry run reads no weights, so it converts none.
    card = read_card(if_converted(source) if start.dry_run else prepare(source), asked.trust_remote_code)
    config = resolve(asked, card)
    folder = start.folder(card.source.name, config.digest())
    check_identity(folder, {"config": config.to_json()})
    plan = make_plan(config, card)
    identity = {"config": config.to_json(), "samples": samples_digest(plan.samples)}
    check_identity(folder, identity)
    launched = launched_shard() if layout.parallel == "tensor" else Shard()
    together = layout.parallel == "tensor" and not start.dry_run
    ranks = join_ranks(launched_device(config.device)) if together else ALONE
    rows = ranks.agree(read_rows(folder))  # the folder may be on rank 0's machine alone
    rate = prefill_rate(config.dtype, config.device)
    if launched.count > 1 and splits_heads(card.config, Ranks(launched.index - 1, launched.count)):
        rate *= launched.count
    job = _plan_job(config, card, plan, identity, folder, rows, start, rate)
    if launched.index == 1:
        _print_job(job, plan, rate)
    if start.dry_run:
        return
    if job.goes_on(rows):
        if ranks.leads and start.asks and config.design == "isolated" and job.flops / rate > _MAX_UNASKED_SECONDS:
            _ask(job.flops / rate)
        _answer(job, budget, layout, ranks, start, rows)
    if together:
        leave_ranks()
    if not ranks.leads:
        return
    if start.shard.count > 1 and missing(plan.samples, read_rows(folder)):
        click.echo(f"Part {start.shard.index} of {start.shard.count} is done; the report is drawn when all are.")
        return
    redraw(folder)
    if job.design is not None:
        print_fit(job.design, read_rows(folder))


def _plan_job(
    config: SweepConfig,
    card: ModelCard,
    plan: Plan,
    identity: dict[str, Any],
    folder: Path,
    rows: Sequence[Row],
    start: Start,
    rate: float,
) -> _Job:
    """What these rows leave to do, at `rate` floating-point operations a second."""
    from longctx.sweep.adaptive import make_design, parse_budget, to_ask_first
    from longctx.sweep.plan import sample_cost
    from longctx.sweep.run import missing

    if config.adaptive:
        design = make_design(plan.samples, config, card.shape, parse_budget(start.budget), rate)
        todo = to_ask_first(plan.samples, rows)
        return _Job(config, card, identity, folder, todo, design.left(rows), design)
    todo = missing(start.shard.pick(plan.samples), rows)
    return _Job(config, card, identity, folder, todo, sample_cost(todo, config.chunk, card.shape).flops, None)


def _print_job(job: _Job, plan: Plan, rate: float) -> None:
    from longctx.terminal.adaptive import print_design
    from longctx.terminal.sweep import print_plan, print_todo

    print_plan(plan, job.config, job.card, rate)
    if job.design is not None:
        print_design(job.design, job.flops, rate, job.folder)
    else:
        print_todo(len(job.todo), len(plan.samples), job.flops / rate, job.folder)


def _ask(seconds: float) -> None:
    """Ask before an isolated sweep of more than an hour; raises ConfigError where nobody can answer."""
    question = f"This isolated sweep will take about {seconds / 3600:.1f} hours (packed: see above). Start it?"
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Add --yes, or choose --design packed or fewer lengths.")
    if not click.confirm(question):
        raise ConfigError("Not started.")


def _answer(job: _Job, budget: KvBudget, layout: Layout, ranks: Ranks, start: Start, rows: Sequence[Row]) -> None:
    """Load the model and answer; of several ranks the first writes."""
    from longctx import environment
    from longctx.backends.hf import HuggingFaceBackend
    from longctx.store import RunFolder
    from longctx.sweep.adaptive import run_adaptive
    from longctx.sweep.run import follow_samples, run_samples
    from longctx.sweep.shard import launched_device
    from longctx.terminal.sweep import SweepProgress

    here = dataclasses.replace(job.config, device=launched_device(job.config.device))
    owner = str(job.folder.resolve() / start.shard.rows_name)
    backend = HuggingFaceBackend(job.card, here, dataclasses.replace(budget, owner=owner), layout, ranks)
    if not ranks.leads:
        with backend:
            follow_samples(job.todo, backend)
        return
    described = environment.describe_start(backend.checks)
    described["layout"] = {**dataclasses.asdict(layout), "ranks": ranks.count}
    identity = {**job.identity, "model": backend.fingerprint}
    with (
        backend,
        RunFolder(job.folder, identity, described, start.shard.rows_name) as folder,
        SweepProgress(job.flops, job.max_samples) as progress,
    ):
        hooks = (progress.add_row, progress.add_flops, job.card.tokenizer.decode)
        if job.design is None:
            run_samples(job.todo, job.config, job.card.window, backend, folder, *hooks)
        else:
            run_adaptive(job.design, job.todo, job.config, job.card.window, backend, folder, rows, *hooks)
        folder.record_end(
            {
                "ended": environment.utc_now(),
                "flops": progress.flops,
                "seconds": round(progress.seconds, 3),
                "kv_bytes": backend.kv_bytes,
            }
        )
