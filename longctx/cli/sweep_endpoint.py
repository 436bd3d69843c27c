"""longctx sweep --backend openai: no weights, and no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longctx.cli.report import redraw
from longctx.errors import ConfigError, SpentError

if TYPE_CHECKING:
    from longctx.backends.endpoint.client import EndpointClient
    from longctx.backends.endpoint.config import EndpointConfig
    from longctx.cli.start import Start
    from longctx.config import SweepConfig
    from longctx.documents.tokenizer import Tokenizer
    from longctx.records import Sample
    from longctx.sweep.shard import Shard

SPENT = 4
"""Exit code of a sweep that stopped at its budget."""


def run(asked: SweepConfig, settings: EndpointConfig, start: Start) -> None:
    """Plan, ask, and draw the report; exits with SPENT where the budget did not reach."""
    from longctx.backends.endpoint.connect import connect
    from longctx.generate import find_tokenizer_alone
    from longctx.samples import make_samples
    from longctx.store import check_identity, read_rows
    from longctx.sweep.endpoint import endpoint_cost, resolve_endpoint
    from longctx.sweep.run import missing, samples_digest
    from longctx.terminal.endpoint import print_endpoint_plan
    from longctx.terminal.sweep import print_todo

    tokenizer = find_tokenizer_alone(asked.tokenizer or asked.model)
    with connect(asked, settings) as client:
        config = resolve_endpoint(asked, tokenizer, _window(asked, client, start.dry_run))
        folder = start.folder(config.model, config.digest())
        samples = make_samples(config, tokenizer)
        identity = {"config": config.to_json(), "samples": samples_digest(samples)}
        check_identity(folder, identity)
        todo = missing(start.shard.pick(samples), read_rows(folder))
        print_endpoint_plan(config, samples, endpoint_cost(todo, settings), settings)
        print_todo(len(todo), len(samples), None, folder)
        if start.dry_run:
            return
        spent = _answer(todo, config, settings, start.shard, tokenizer, client, identity, folder) if todo else None
    redraw(folder)
    if spent is not None:
        click.secho(
            f"longctx: {spent} The same command with a larger budget goes on from there.", fg="yellow", err=True
        )
        raise SystemExit(SPENT)


def _window(config: SweepConfig, client: EndpointClient, dry_run: bool) -> int:
    """The advertised window: as asked, as the server says, or as the tokenizer's model says; raises ConfigError."""
    from longctx.documents.named_tokenizers import tiktoken_names
    from longctx.engine.loading import read_window
    from longctx.engine.sources import find_source, if_converted
    from longctx.sweep.endpoint import stated_window

    name = config.tokenizer or config.model
    stated = config.window or (None if dry_run else stated_window(config.model, client.stated_models()))
    if stated:
        return stated
    if name in tiktoken_names():
        raise ConfigError("Neither the server nor the tokenizer says what window is advertised: add --window 128k.")
    return read_window(if_converted(find_source(name)), config.trust_remote_code)


def _answer(
    todo: Sequence[Sample],
    config: SweepConfig,
    settings: EndpointConfig,
    shard: Shard,
    tokenizer: Tokenizer,
    client: EndpointClient,
    identity: dict[str, Any],
    path: Path,
) -> SpentError | None:
    """Ask the canaries, then the rest; the error of a budget that did not reach."""
    from longctx import environment
    from longctx.addressable import addressable
    from longctx.backends.endpoint.connect import greet, make_backend
    from longctx.store import RunFolder, read_rows
    from longctx.sweep.run import run_samples
    from longctx.terminal.endpoint import print_addressable, print_spent
    from longctx.terminal.sweep import SweepProgress

    greeting = greet(client, config, tokenizer)
    backend = make_backend(client, config, tokenizer, config.window, greeting, settings.concurrency)
    described = environment.describe_start(greeting.checks)
    canaries = [sample for sample in todo if sample.control == "canary"]
    others = [sample for sample in todo if sample.control != "canary"]
    with RunFolder(path, {**identity, "model": backend.fingerprint}, described, shard.rows_name) as folder:
        try:
            for part in filter(None, (canaries, others)):
                num_tokens = sum(sample.prompt.num_tokens for sample in part)
                with SweepProgress(num_tokens, len(part)) as progress:
                    run_samples(part, config, config.window, backend, folder, progress.add_row, progress.add_flops)
                if part is canaries and (verdict := addressable(read_rows(path))):
                    print_addressable(verdict)
        except SpentError as error:
            return error
        finally:
            print_spent(client.ledger, settings)
            asked = {"ended": environment.utc_now(), "concurrency": settings.concurrency}
            folder.record_spent(asked | client.ledger.account())
    return None
