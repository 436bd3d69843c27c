"""longctx compare of two sources that are asked, not of finished runs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longctx.errors import ConfigError, SpentError

if TYPE_CHECKING:
    from longctx.backends.endpoint.config import EndpointConfig
    from longctx.compare.judge import Side
    from longctx.compare.records import Go, Probe
    from longctx.config import SweepConfig
    from longctx.documents.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """Which two sources are asked, and how."""

    a: str
    b: str
    config: SweepConfig
    """Its lengths, seed, haystack, template, API and dtype hold for both sides."""
    settings: EndpointConfig
    key_env_b: str
    num_items: int
    num_samples: int

    @property
    def asked(self) -> dict[str, Any]:
        """What decides what the sources are asked: it may not change while a comparison goes on."""
        probes = {"items": self.num_items, "samples": self.num_samples}
        return {"a": self.a, "b": self.b, "config": self.config.to_json(), **probes}


def run(wanted: Wanted, out: Path) -> tuple[Side, Side, Side]:
    """What both say, A in two passes: what is left of it is asked, and kept in `out` as it comes."""
    from longctx.compare.kept import left, read_kept, read_passes
    from longctx.compare.probes import make_probes, probes_digest
    from longctx.documents.template import choose_template
    from longctx.store import check_identity

    tokenizer = _find_tokenizer(wanted)
    kind = "message" if wanted.config.api == "chat" else wanted.config.template
    config = dataclasses.replace(wanted.config, template=choose_template(kind, "", tokenizer).kind)
    wanted = dataclasses.replace(wanted, config=config)
    check_identity(out, {"comparison": wanted.asked})
    probes = make_probes(config, tokenizer, wanted.num_items)
    asked = {"comparison": wanted.asked, "probes": probes_digest(probes)}
    check_identity(out, asked)
    todo = left(probes, wanted.num_samples, read_kept(out))
    num_left, num_all = sum(map(len, todo.values())), len(todo) * len(probes)
    click.echo(f"{num_left} of {num_all} probes to ask, into {out}")
    if num_left:
        _ask(wanted, tokenizer, asked, todo, out)
    return read_passes(out, probes)


def _find_tokenizer(wanted: Wanted) -> Tokenizer:
    """That of both sides; raises ConfigError for two servers without one, and for a URL that is not legal."""
    from longctx.compare.opening import parse_source
    from longctx.generate import find_tokenizer, find_tokenizer_alone

    names = [parse_source(name) for name in (wanted.a, wanted.b)]
    if not wanted.config.tokenizer:
        raise ConfigError("Two servers need the --tokenizer of their model.")
    find = find_tokenizer_alone if all(name.is_server for name in names) else find_tokenizer
    return find(wanted.config.tokenizer)


def _ask(
    wanted: Wanted, tokenizer: Tokenizer, asked: Mapping[str, Any], todo: Mapping[Go, Sequence[Probe]], out: Path
) -> None:
    """Open both sources and ask them what is left to do; raises SpentError where the budget does not reach."""
    from longctx import environment
    from longctx.backends.endpoint.ledger import Ledger
    from longctx.compare.kept import FILE, describe_sources, take_all
    from longctx.compare.opening import open_source
    from longctx.store import RunFolder
    from longctx.terminal.compare import Passes

    ledger = Ledger(wanted.settings)  # one budget for both
    settings_b = dataclasses.replace(wanted.settings, api_key_env=wanted.key_env_b)
    with contextlib.ExitStack() as stack:
        sources = {
            side: stack.enter_context(open_source(name, wanted.config, settings, ledger, tokenizer))
            for side, name, settings in (("a", wanted.a, wanted.settings), ("b", wanted.b, settings_b))
        }
        identity = {**asked, "sources": describe_sources(sources)}
        folder = stack.enter_context(RunFolder(out, identity, environment.describe_start({}), FILE))
        passes = stack.enter_context(Passes(sum(map(len, todo.values()))))
        try:
            for _ in take_all(sources, todo, wanted.num_samples, wanted.config.seed, folder):
                passes.advance()
        except SpentError as error:
            raise SpentError(f"{error} What was taken is kept; the same command with a larger one goes on.") from error
