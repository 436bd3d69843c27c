"""A sweep of a served model: what it will ask, what it found the server to take, and what it spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from longctx.config import SweepConfig
from longctx.lengths import format_length
from longctx.records import Sample
from longctx.terminal.format import new_console

if TYPE_CHECKING:
    from longctx.addressable import Addressable
    from longctx.backends.endpoint.config import EndpointConfig
    from longctx.backends.endpoint.ledger import Ledger
    from longctx.sweep.endpoint import EndpointCost


def print_endpoint_plan(
    config: SweepConfig, samples: Sequence[Sample], cost: EndpointCost, settings: EndpointConfig
) -> None:
    """Print what will be asked, and what it costs at most."""
    console = new_console()
    console.print(
        f"[bold]{escape(config.model)}[/] at {escape(config.base_url)}, {config.window:,} tokens advertised; "
        f"{config.api} API, {settings.concurrency} requests at a time"
    )
    console.print(
        f"lengths {', '.join(map(format_length, config.lengths))}; "
        f"depths {', '.join(f'{depth:.0%}' for depth in config.depths)}; {config.trials} trials; "
        f"{', '.join(config.task)}; {config.design} documents; "
        f"{sum(sample.control == 'canary' for sample in samples)} canaries"
    )
    priced = f"; at most {cost.max_cost:,.4f} at these prices" if settings.has_prices else ""
    console.print(
        f"{cost.num_requests:,} requests, {cost.num_prompt_tokens:,} prompt tokens, "
        f"at most {cost.max_completion_tokens:,} completion tokens{priced}"
    )


def print_addressable(verdict: Addressable) -> None:
    """Print what the canaries showed."""
    console = new_console()
    console.print(f"[bold]{escape(verdict.sentence)}[/]")
    for reach in verdict.reaches:
        if reach.missed or reach.cut or reach.accepted is None:
            counted = "" if reach.counted is None else f", {reach.counted:,} counted"
            what = f"not found: {reach.lost}" if reach.missed else "no answer"
            console.print(f"  {reach.length:,}: {reach.num_tokens:,} tokens sent{counted}; {what}", style="yellow")


def print_spent(ledger: Ledger, settings: EndpointConfig) -> None:
    """Print what all requests came to, retries and what broke off included."""
    spent = ledger.spent
    priced = f", {ledger.cost():,.4f} at these prices" if settings.has_prices else ""
    new_console().print(
        f"spent: {spent.num_requests:,} requests, {spent.num_prompt_tokens:,} prompt tokens, "
        f"{spent.num_completion_tokens:,} completion tokens{priced}",
        style="dim",
    )
