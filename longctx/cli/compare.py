"""longctx compare."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longctx.cli import compare_asked, endpoint_options, options
from longctx.errors import ConfigError

if TYPE_CHECKING:
    from longctx.compare.judge import Side

EXIT_CODES = {"none": 0, "difference": 3, "unclear": 2}


@click.command("compare")
@click.argument("a")
@click.argument("b")
@click.option("--lengths", default="1k", show_default=True, help="512..8k doubles, 1k,4k,8k lists.")
@click.option("--items", type=int, default=50, show_default=True, help="Probes at each length.")
@click.option("--samples", type=int, default=10, show_default=True, help="Drawn at temperature 1 for each probe.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Level, after Holm's correction.")
@options.add(
    options.seed,
    options.haystack,
    options.template,
    options.dtype,
    options.device,
    click.option("--api", help="What servers get: completions, tokens or chat.  [default: completions]"),
    click.option("--tokenizer", help="Of both: a model or a tiktoken encoding.  [default: the local model's]"),
    click.option("--count-tolerance", type=float, help="Share by which a server may count otherwise.  [default: 0]"),
    *endpoint_options.OPTIONS,
)
@click.option("--api-key-env-b", default="", metavar="NAME", help="Key of B, where it is not A's.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the page, and for what both said."
)
def command(
    a: str, b: str, lengths: str, items: int, samples: int, alpha: float, api_key_env_b: str, out: Path, **flags: Any
) -> None:
    """Do A and B serve the same model? Each is a run folder, a server (URL#MODEL), or a model.

    Exit code 0: no difference shown; 3: difference shown; 2: could not tell. Stopped, it goes on where it was.
    """
    from longctx.config import resolve_config

    if items < 1 or samples < 0 or samples == 1 or not 0.0 < alpha < 1.0:
        raise ConfigError("compare takes --items from 1, --samples 0 or from 2, and --alpha between 0 and 1.")
    settings = endpoint_options.take_settings(flags)
    flags |= {"lengths": lengths, "api": flags.get("api") or "completions", "beyond_window": True}
    config = resolve_config(None, {**flags, "tokenizer": flags.get("tokenizer") or _local(a, b)})
    if (sides := _runs(a, b)) is None:
        key_env_b = api_key_env_b or settings.api_key_env
        sides = compare_asked.run(compare_asked.Wanted(a, b, config, settings, key_env_b, items, samples), out)
    _finish(sides, alpha, config.seed, out)


def _local(a: str, b: str) -> str:
    """The side that is a model here: its tokenizer is taken for both."""
    return next((name for name in (a, b) if "://" not in name), "")


def _runs(a: str, b: str) -> tuple[Side, Side | None, Side] | None:
    """Two finished runs: A was asked once."""
    from longctx.compare.finished import read_sides

    if not all((Path(name) / "manifest.json").exists() for name in (a, b)):
        return None
    first, other = read_sides(Path(a), Path(b))
    return first, None, other


def _finish(sides: tuple[Side, Side | None, Side], alpha: float, seed: int, out: Path) -> None:
    """Judge, write the pages, and end with the outcome's exit code."""
    from longctx import environment
    from longctx.compare.judge import judge
    from longctx.compare.page import write_pages
    from longctx.terminal.compare import print_comparison

    comparison = judge(*sides, alpha=alpha, seed=seed)
    judged = {
        "comparison": dataclasses.asdict(comparison),
        "judged": environment.utc_now(),
        "code": environment.code_version(),
        "packages": environment.packages(),
    }
    write_pages(comparison, shlex.join(["longctx", *sys.argv[1:]]), out, judged)
    print_comparison(comparison, out)
    raise SystemExit(EXIT_CODES[comparison.outcome])
