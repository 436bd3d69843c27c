"""How requests are sent to a server: options of every command that asks one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from longctx.backends.endpoint.config import EndpointConfig

_SETTINGS = {
    "api_key_env": "api_key_env",
    "concurrency": "concurrency",
    "retries": "max_attempts",
    "timeout": "timeout_seconds",
    "timeout_per_1k": "timeout_seconds_per_1k",
    "max_requests": "max_requests",
    "max_prompt_tokens": "max_prompt_tokens",
    "price_in": "price_in",
    "price_out": "price_out",
    "max_cost": "max_cost",
}

OPTIONS = (
    click.option("--api-key-env", metavar="NAME", help="Environment variable that holds the key.  [default: no key]"),
    click.option("--concurrency", type=int, help="Requests at a time.  [default: 4]"),
    click.option("--retries", type=int, help="More attempts after a fault that may pass.  [default: 4]"),
    click.option("--timeout", type=float, help="Seconds for a request.  [default: 60]"),
    click.option("--timeout-per-1k", type=float, help="Seconds more for every 1,024 prompt tokens.  [default: 2]"),
    click.option("--max-requests", type=int, help="Stop before more requests are sent."),
    click.option("--max-prompt-tokens", type=int, help="Stop before more prompt tokens are sent."),
    click.option("--price-in", type=float, help="Price of a million prompt tokens."),
    click.option("--price-out", type=float, help="Price of a million completion tokens."),
    click.option("--max-cost", type=float, help="Stop before it costs more, by these prices."),
)


def take_settings(flags: dict[str, Any]) -> EndpointConfig:
    """Take these options out of `flags`; raises ConfigError for a value that is not legal."""
    from longctx.backends.endpoint.config import EndpointConfig

    values = {field: flags.pop(flag) for flag, field in _SETTINGS.items()}
    if values["max_attempts"] is not None:
        values["max_attempts"] += 1
    return EndpointConfig(**{field: value for field, value in values.items() if value is not None})
