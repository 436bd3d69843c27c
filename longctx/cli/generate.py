"""longctx generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from longctx.cli import options
from longctx.errors import ConfigError


@click.command("generate")
@options.add(
    options.task,
    click.option("--lengths", help="512..8k doubles, 1k,4k,8k lists."),
    click.option(
        "--tokenizer", default="smollm2-135m-instruct", show_default=True, help="A model, or cl100k_base, ..."
    ),
    options.depths,
    options.trials,
    options.design,
    options.seed,
    options.haystack,
    options.template,
    options.allow_repeats,
    options.controls,
)
@click.option("--text/--ids", default=True, help="Prompts as text, or as token ids.  [default: text]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A .jsonl file.")
def command(tokenizer: str, text: bool, out: Path, **flags: Any) -> None:
    """Write the prompts of a grid as JSON lines. Needs no model weights."""
    from longctx.config import resolve_config
    from longctx.generate import find_tokenizer, write_prompts
    from longctx.samples import make_samples, resolve_grid

    config = resolve_grid(resolve_config(None, flags | {"model": tokenizer}))
    if not config.lengths:
        raise ConfigError("No lengths were named: add --lengths 8k..128k.")
    samples = make_samples(config, find_tokenizer(tokenizer))
    write_prompts(samples, out, ids=not text)
    click.echo(f"{len(samples)} prompts, {sum(s.prompt.num_tokens for s in samples):,} tokens: {out}")
