"""longctx sweep."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from longctx.cli import endpoint_options, options
from longctx.cli.start import Start
from longctx.errors import ConfigError


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
    click.option("--backend", help="hf: here; openai: a server that speaks its protocol.  [default: hf]"),
    click.option("--base-url", help="Of the server: http://localhost:8000/v1."),
    click.option("--api", help="What the server gets: chat, completions, or tokens (ids).  [default: chat]"),
    click.option("--tokenizer", help="The served model's: a model or a tiktoken encoding.  [default: --model]"),
    click.option("--window", help="Its advertised window: 128k.  [default: what server or tokenizer say]"),
    click.option("--thinking-tokens", type=int, help="Room for reasoning before the answer.  [default: 0]"),
    click.option("--count-tolerance", type=float, help="Share by which a server may count otherwise.  [default: 0]"),
    click.option("--canaries", help="Ask for first, middle and last tokens: auto, yes, no.  [default: of servers]"),
    *endpoint_options.OPTIONS,
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
@click.option("--device-map", help="auto: whole layers over all GPUs of this process.  [default: one device]")
@click.option(
    "--parallel",
    default="documents",
    show_default=True,
    help="What processes under a launcher share: documents, or tensor for one model's heads, weights, keys and values.",
)
def command(
    config_file: Path | None,
    out: Path | None,
    dry_run: bool,
    yes: bool,
    kv_device: str | None,
    kv_host: str | None,
    kv_disk: Path | None,
    shard: str | None,
    device_map: str | None,
    parallel: str,
    budget: str | None,
    **flags: Any,
) -> None:
    """Measure a model over a grid of lengths and depths, and draw the report."""
    # Before torch is loaded: waiting threads that spin slow a busy machine down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from longctx.config import KvBudget, Layout, resolve_config
    from longctx.sizes import parse_bytes
    from longctx.sweep.shard import chosen_shard

    layout = Layout(device_map, parallel)
    start = Start(chosen_shard(shard, layout), out, dry_run, not yes, budget)
    device, host = (None if text is None else parse_bytes(text) for text in (kv_device, kv_host))
    settings = endpoint_options.take_settings(flags)
    config = resolve_config(config_file, flags)
    if config.adaptive and (start.shard.count > 1 or parallel == "tensor" or config.backend != "hf"):
        raise ConfigError("An adaptive sweep is one process with its own model: what it asks next follows from all.")
    if budget is not None and not config.adaptive:
        raise ConfigError("A budget is for an adaptive sweep: add --adaptive.")
    if config.backend == "openai":
        from longctx.cli import sweep_endpoint

        sweep_endpoint.run(config, settings, start)
    else:
        from longctx.cli import sweep_here

        sweep_here.run(config, KvBudget(device, host, kv_disk), layout, start)
