"""longctx sweep."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longctx.cli import options
from longctx.cli.report import redraw
from longctx.errors import ConfigError

if TYPE_CHECKING:
    from longctx.config import KvBudget, SweepConfig
    from longctx.engine.loading import ModelCard
    from longctx.records import Sample
    from longctx.sweep.adaptive import AdaptiveDesign
    from longctx.sweep.shard import Shard

_MAX_UNASKED_SECONDS = 3600


@click.command("sweep")
@options.add(
    options.model,
    options.task,
    click.option("--lengths", help="512..8k doubles, 1k,4k,8k lists.  [default: 1k to the window, and one past it]"),
    options.depths,
    options.trials,
    options.design,
    options.seed,
    options.haystack,
    options.template,
    options.dtype,
    options.device,
    click.option("--attention", help="auto, fa4, fa3, fa2, cudnn, flash or reference.  [default: auto]"),
    click.option("--rope", help="model, or float64 for exact angles beyond 1M tokens.  [default: model]"),
    options.chunk,
    click.option("--batch-tokens", type=int, help="Tokens of questions that are read in one batch.  [default: 8192]"),
    click.option("--beyond-window", is_flag=True, default=None, help="Allow lengths over the advertised window."),
    options.allow_repeats,
    options.controls,
    click.option(
        "--adaptive", is_flag=True, default=None, help="Ask where it tells most, at most 20 trials or --trials."
    ),
    click.option("--rule", help="What an adaptive sweep looks for: ruler or nolima.  [default: ruler]"),
    options.trust_remote_code,
)
@click.option("--budget", help="Of an adaptive sweep: 1e18FLOP, 2h, 30min.  [default: a quarter of the grid]")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file with any of the above.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/MODEL-HASH]")
@click.option("--dry-run", is_flag=True, help="Print the plan and load no weights.")
@click.option("--yes", is_flag=True, help="Start a plan of many hours without asking.")
@click.option("--kv-device", metavar="SIZE", help="Keys and values on the device: 20GiB.  [default: what is free]")
@click.option("--kv-host", metavar="SIZE", help="Beside a GPU, in host memory.  [default: what is free]")
@click.option(
    "--kv-disk",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder on a fast disk for the rest; a killed run goes on from there.",
)
@click.option("--shard", metavar="I/N", help="Run part I of N, with rows of its own.  [default: as launched, or all]")
def command(
    config_file: Path | None,
    out: Path | None,
    dry_run: bool,
    yes: bool,
    kv_device: str | None,
    kv_host: str | None,
    kv_disk: Path | None,
    shard: str | None,
    budget: str | None,
    **flags: Any,
) -> None:
    """Measure a model over a grid of lengths and depths, and draw the report."""
    # Before torch is loaded: waiting threads that spin slow a busy machine down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from longctx.config import KvBudget, resolve_config
    from longctx.sizes import parse_bytes
    from longctx.sweep.shard import launched_shard, parse_shard

    part = launched_shard() if shard is None else parse_shard(shard)
    device, host = (None if text is None else parse_bytes(text) for text in (kv_device, kv_host))
    config = resolve_config(config_file, flags)
    if config.adaptive and part.count > 1:
        raise ConfigError("An adaptive sweep is one process: what it asks next follows from all answers.")
    if budget is not None and not config.adaptive:
        raise ConfigError("A budget is for an adaptive sweep: add --adaptive.")
    _run(config, KvBudget(device, host, kv_disk), part, out, dry_run, yes, budget)


def _run(
    asked: SweepConfig,
    budget: KvBudget,
    shard: Shard,
    out: Path | None,
    dry_run: bool,
    yes: bool,
    adaptive_budget: str | None,
) -> None:
    from longctx.engine.loading import read_card
    from longctx.engine.sources import find_source, if_converted, prepare
    from longctx.engine.speed import prefill_rate
    from longctx.store import check_identity, read_rows
    from longctx.sweep.adaptive import make_design, parse_budget, to_ask_first
    from longctx.sweep.plan import make_plan, resolve, sample_cost
    from longctx.sweep.run import missing, samples_digest
    from longctx.terminal.adaptive import print_design, print_fit
    from longctx.terminal.sweep import print_plan, print_todo

    source = find_source(asked.model)
    # A dry run reads no weights, so it converts none.
    card = read_card(if_converted(source) if dry_run else prepare(source), asked.trust_remote_code)
    config = resolve(asked, card)
    folder = out or Path("runs") / f"{card.source.name.replace('/', '--')}-{config.digest()}"
    check_identity(folder, {"config": config.to_json()})
    plan = make_plan(config, card)
    identity = {"config": config.to_json(), "samples": samples_digest(plan.samples)}
    check_identity(folder, identity)
    rows = read_rows(folder)
    rate = prefill_rate(config.dtype, config.device)
    print_plan(plan, config, card, rate)
    design = None
    if config.adaptive:
        design = make_design(plan.samples, config, card.shape, parse_budget(adaptive_budget), rate)
        todo, flops = to_ask_first(plan.samples, rows), design.left(rows)
        print_design(design, flops, rate, folder)
    else:
        todo = missing(shard.pick(plan.samples), rows)
        flops = sample_cost(todo, config.chunk, card.shape).flops
        print_todo(len(todo), len(plan.samples), flops / rate, folder)
    if dry_run:
        return
    if todo or (design is not None and design.goes_on(rows)):
        if config.design == "isolated" and flops / rate > _MAX_UNASKED_SECONDS and not yes:
            _ask(flops / rate)
        _answer(todo, config, budget, shard, card, identity, folder, flops, design)
    if missing(plan.samples, read_rows(folder)) and shard.count > 1:
        click.echo(f"Part {shard.index} of {shard.count} is done; the report is drawn when all are.")
        return
    redraw(folder)
    if design is not None:
        print_fit(design, read_rows(folder))


def _ask(seconds: float) -> None:
    """Ask before an isolated sweep of more than an hour; raises ConfigError where nobody can answer."""
    question = f"This isolated sweep will take about {seconds / 3600:.1f} hours (packed: see above). Start it?"
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Add --yes, or choose --design packed or fewer lengths.")
    if not click.confirm(question):
        raise ConfigError("Not started.")


def _answer(
    todo: Sequence[Sample],
    config: SweepConfig,
    budget: KvBudget,
    shard: Shard,
    card: ModelCard,
    identity: dict[str, Any],
    path: Path,
    flops: int,
    design: AdaptiveDesign | None,
) -> None:
    """Load the model and answer the samples that have no score yet; with a design, then what it chooses."""
    from longctx import environment
    from longctx.backends.hf import HuggingFaceBackend
    from longctx.store import RunFolder, read_rows
    from longctx.sweep.adaptive import run_adaptive
    from longctx.sweep.run import run_samples
    from longctx.sweep.shard import launched_device
    from longctx.terminal.sweep import SweepProgress

    here = dataclasses.replace(config, device=launched_device(config.device))
    owner = str(path.resolve() / shard.rows_name)
    most = len(todo) if design is None else sum(len(step.samples) for step in design.steps)
    backend = HuggingFaceBackend(card, here, dataclasses.replace(budget, owner=owner))
    start = {
        "started": environment.utc_now(),
        "code": environment.code_version(),
        "packages": environment.packages(),
        "hardware": environment.hardware(),
        "checks": dict(backend.checks),
    }
    with (
        backend,
        RunFolder(path, {**identity, "model": backend.fingerprint}, start, shard.rows_name) as folder,
        SweepProgress(flops, most) as progress,
    ):
        hooks = (progress.add_row, progress.add_flops, card.tokenizer.decode)
        if design is None:
            run_samples(todo, config, card.window, backend, folder, *hooks)
        else:
            run_adaptive(design, todo, config, card.window, backend, folder, read_rows(path), *hooks)
        folder.record_end(
            {
                "ended": environment.utc_now(),
                "flops": progress.flops,
                "seconds": round(progress.seconds, 3),
                "kv_bytes": backend.kv_bytes,
            }
        )
