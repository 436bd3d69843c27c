"""longctx check."""

from __future__ import annotations

import os
from typing import Any

import click

from longctx.cli import options


@click.command("check")
@options.add(
    options.model,
    click.option("--dtype", help="auto, float32, bfloat16 or float16.  [default: auto, float32 where it fits]"),
    options.device,
)
@click.option("--longest", default="32k", show_default=True, help="The longest prompt to read, as 8k or 1M.")
def command(longest: str, **flags: Any) -> None:
    """Is a failure the model's or the stack's? Exit code 1 if anything differs."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from longctx.check.run import check_model
    from longctx.config import resolve_config
    from longctx.engine.loading import read_card
    from longctx.engine.sources import find_source, prepare
    from longctx.lengths import parse_length
    from longctx.terminal.check import print_findings

    config, num_tokens = resolve_config(None, flags), parse_length(longest)
    card = read_card(prepare(find_source(config.model)))
    if print_findings(check_model(card, config.dtype, config.device, num_tokens)):
        raise SystemExit(1)
