"""How requests are sent. It decides how far and how fast a sweep gets, not what it measures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from longctx.errors import ConfigError

# Sent where no key is asked for: the client insists on one, and must not look for one by itself.
_NO_KEY = "none"


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """Raises ConfigError for a value that is not legal. Prices are for a million tokens, in any currency."""

    api_key_env: str = ""
    """Name of the environment variable that holds the key; empty: no key is sent."""
    concurrency: int = 4
    max_attempts: int = 5
    timeout_seconds: float = 60.0
    timeout_seconds_per_1k: float = 2.0
    """Added for every 1,024 tokens of a prompt."""
    max_wait_seconds: float = 300.0
    """The longest Retry-After that is waited for."""
    max_requests: int | None = None
    max_prompt_tokens: int | None = None
    max_cost: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0

    def __post_init__(self) -> None:
        for name in ("concurrency", "max_attempts", "max_requests", "max_prompt_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1.")
        for name in ("timeout_seconds", "timeout_seconds_per_1k", "price_in", "price_out", "max_cost"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < float("inf"):
                raise ConfigError(f"{name} is {value}; it must be a number from 0 up.")
        if self.max_cost is not None and not self.has_prices:
            raise ConfigError("max_cost needs prices: add --price-in and --price-out, for a million tokens.")

    @property
    def has_prices(self) -> bool:
        return bool(self.price_in or self.price_out)

    def timeout(self, num_prompt_tokens: int) -> float:
        """Seconds for a request with a prompt of this length."""
        return self.timeout_seconds + self.timeout_seconds_per_1k * num_prompt_tokens / 1024

    def cost(self, num_prompt_tokens: int, num_completion_tokens: int) -> float:
        return (num_prompt_tokens * self.price_in + num_completion_tokens * self.price_out) / 1e6


def read_key(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The key in the environment variable `name`; raises ConfigError where it is not set."""
    if not name:
        return _NO_KEY
    key = environment.get(name, "").strip()
    if not key:
        raise ConfigError(f"The environment variable {name} holds no key.")
    return key
