"""longctx compare."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longctx.cli import endpoint_options, options
from longctx.errors import ConfigError

if TYPE_CHECKING:
    from longctx.backends.endpoint.config import EndpointConfig
    from longctx.compare.judge import Side
    from longctx.compare.source import Source
    from longctx.config import SweepConfig
    from longctx.documents.tokenizer import Tokenizer

EXIT_CODES = {"none": 0, "difference": 3, "unclear": 2}


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """How two sources are asked."""

    config: SweepConfig
    """Its lengths, seed, haystack, template, API and dtype hold for both sides."""
    settings: EndpointConfig
    key_env_b: str
    num_items: int
    num_samples: int
    alpha: float


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
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the page.")
def command(
    a: str, b: str, lengths: str, items: int, samples: int, alpha: float, api_key_env_b: str, out: Path, **flags: Any
) -> None:
    """Do A and B serve the same model? Each is a run folder, a server (URL#MODEL), or a model.

    Exit code 0: no difference shown; 3: difference shown; 2: could not tell.
    """
    from longctx.config import resolve_config

    if items < 1 or samples < 0 or samples == 1 or not 0.0 < alpha < 1.0:
        raise ConfigError("compare takes --items from 1, --samples 0 or from 2, and --alpha between 0 and 1.")
    settings = endpoint_options.take_settings(flags)
    tokenizer = flags.get("tokenizer")
    flags |= {"lengths": lengths, "api": flags.get("api") or "completions", "beyond_window": True}
    config = resolve_config(None, {**flags, "tokenizer": tokenizer or _local(a, b)})
    wanted = Wanted(config, settings, api_key_env_b or settings.api_key_env, items, samples, alpha)
    sides = _runs(a, b) or _asked(a, b, wanted)
    _finish(sides, wanted, out)


def _local(a: str, b: str) -> str:
    """The side that is a model here: its tokenizer is taken for both."""
    return next((name for name in (a, b) if "://" not in name), "")


def _runs(a: str, b: str) -> tuple[Side, None, Side] | None:
    """Two finished runs: A was asked once."""
    from longctx.compare.finished import read_sides

    if not all((Path(name) / "manifest.json").exists() for name in (a, b)):
        return None
    first, other = read_sides(Path(a), Path(b))
    return first, None, other


def _asked(a: str, b: str, wanted: Wanted) -> tuple[Side, Side, Side]:
    """What both say, A in two passes."""
    from longctx.compare.judge import Side
    from longctx.compare.probes import make_probes
    from longctx.compare.source import take
    from longctx.documents.template import choose_template
    from longctx.generate import find_tokenizer
    from longctx.terminal.compare import Passes

    if not wanted.config.tokenizer:
        raise ConfigError("Two servers need the --tokenizer of their model.")
    tokenizer = find_tokenizer(wanted.config.tokenizer)
    kind = "message" if wanted.config.api == "chat" else wanted.config.template
    config = dataclasses.replace(wanted.config, template=choose_template(kind, "", tokenizer).kind)
    probes = make_probes(config, tokenizer, wanted.num_items)
    sides = []
    with (
        _source(a, config, wanted.settings, tokenizer) as source_a,
        _source(b, config, dataclasses.replace(wanted.settings, api_key_env=wanted.key_env_b), tokenizer) as source_b,
        Passes(3 * len(probes)) as passes,
    ):
        for go, source in (("first", source_a), ("second", source_a), ("other", source_b)):
            taken = list(take(source, probes, wanted.num_samples, config.seed, go, passes.advance))
            sides.append(Side(source.name, source.fingerprint, taken))
    return sides[0], sides[1], sides[2]


@contextlib.contextmanager
def _source(name: str, config: SweepConfig, settings: EndpointConfig, tokenizer: Tokenizer) -> Iterator[Source]:
    """A server by URL#MODEL, or a model that is loaded here; raises ConfigError or ModelError."""
    if "://" not in name:
        yield _load(name, config, tokenizer)
        return
    from longctx.backends.endpoint.connect import connect, greet, make_backend, offers_logprobs
    from longctx.backends.endpoint.content import Sender
    from longctx.compare.served import ServedSource
    from longctx.compare.source import TOP_LOGPROBS

    url, mark, model = name.partition("#")
    if not mark or not model:
        raise ConfigError(f"{url!r} names no model: write URL#MODEL.")
    served = dataclasses.replace(config, backend="openai", base_url=url, model=model)
    with connect(served, settings) as client:
        greeting = greet(client, served, tokenizer)
        backend = make_backend(client, served, tokenizer, 0, greeting, settings.concurrency)
        num_top = TOP_LOGPROBS if offers_logprobs(client, served, tokenizer, TOP_LOGPROBS) else 0
        facts = {**backend.fingerprint, **greeting.checks, "gives_logprobs": bool(num_top)}
        sender = Sender(served.api, tokenizer)
        yield ServedSource(name, client, sender, greeting.counts, facts, settings.concurrency, num_top)


def _load(name: str, config: SweepConfig, tokenizer: Tokenizer) -> Source:
    from longctx.compare.local import LocalSource
    from longctx.engine.loading import choose_device, choose_dtype, load_own, read_card
    from longctx.engine.sources import find_source, prepare

    card = read_card(prepare(find_source(name)))
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    model = load_own(card, dtype, device)
    model.set_attn_implementation("sdpa")
    facts = {"name": card.source.name, "dtype": dtype, "device": device, "tokenizer": tokenizer.fingerprint}
    return LocalSource(name, model, tokenizer, facts)


def _finish(sides: tuple[Side, Side | None, Side], wanted: Wanted, out: Path) -> None:
    """Judge, write the pages, and end with the outcome's exit code."""
    from longctx import environment
    from longctx.compare.judge import judge
    from longctx.compare.page import write_pages
    from longctx.terminal.compare import print_comparison

    comparison = judge(*sides, alpha=wanted.alpha, seed=wanted.config.seed)
    kept = {
        "comparison": dataclasses.asdict(comparison),
        "started": environment.utc_now(),
        "code": environment.code_version(),
        "packages": environment.packages(),
        "taken": [[dataclasses.asdict(taken) for taken in side.taken] for side in filter(None, sides)],
    }
    write_pages(comparison, shlex.join(["longctx", *sys.argv[1:]]), out, kept)
    print_comparison(comparison, out)
    raise SystemExit(EXIT_CODES[comparison.outcome])
