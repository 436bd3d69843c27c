"""What was spent, what is promised to requests in flight, and what may still be sent."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass
from typing import Any

from longctx.backends.endpoint.config import EndpointConfig
from longctx.errors import SpentError


@dataclass(frozen=True, slots=True)
class Spent:
    num_requests: int = 0
    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0

    def plus(self, other: Spent) -> Spent:
        return Spent(
            self.num_requests + other.num_requests,
            self.num_prompt_tokens + other.num_prompt_tokens,
            self.num_completion_tokens + other.num_completion_tokens,
        )


class Ledger:
    """Shared by all threads. A request is paid for in full before it is sent, so the budget holds by our own counts.

    By the server's counts it is exceeded by no more than what these differ for the requests in flight.
    """

    def __init__(self, config: EndpointConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._spent = Spent()
        self._promised: dict[int, Spent] = {}
        self._tickets = 0

    @property
    def spent(self) -> Spent:
        with self._lock:
            return self._spent

    def cost(self) -> float:
        spent = self.spent
        return self._config.cost(spent.num_prompt_tokens, spent.num_completion_tokens)

    def account(self) -> dict[str, Any]:
        """What was spent and at what prices, for a manifest; all three None where no prices were given."""
        config = self._config
        money = {"price_in": config.price_in, "price_out": config.price_out, "cost": round(self.cost(), 6)}
        return dataclasses.asdict(self.spent) | {key: money[key] if config.has_prices else None for key in money}

    def reserve(self, num_prompt_tokens: int, max_tokens: int) -> int:
        """A ticket for a request of at most this size; raises SpentError if the budget does not reach."""
        wanted = Spent(1, num_prompt_tokens, max_tokens)
        with self._lock:
            total = self._spent.plus(wanted)
            for promised in self._promised.values():
                total = total.plus(promised)
            self._check(total)
            self._tickets += 1
            self._promised[self._tickets] = wanted
            return self._tickets

    def settle(self, ticket: int, num_prompt_tokens: int, num_completion_tokens: int) -> None:
        """Replace what was reserved by what it came to."""
        with self._lock:
            del self._promised[ticket]
            self._spent = self._spent.plus(Spent(1, num_prompt_tokens, num_completion_tokens))

    def settle_in_full(self, ticket: int) -> None:
        """Nobody knows what a broken answer was charged: all that was reserved is taken to be spent."""
        with self._lock:
            self._spent = self._spent.plus(self._promised.pop(ticket))

    def _check(self, total: Spent) -> None:
        config = self._config
        cost = config.cost(total.num_prompt_tokens, total.num_completion_tokens)
        for name, needed, limit in (
            ("requests", total.num_requests, config.max_requests),
            ("prompt tokens", total.num_prompt_tokens, config.max_prompt_tokens),
            ("cost", round(cost, 6), config.max_cost),
        ):
            if limit is not None and needed > limit:
                raise SpentError(f"The budget of {limit:,} {name} does not reach for the next request.")
