"""A served model as a source: as many requests at a time as the settings allow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from longctx.backends.endpoint.client import EndpointClient
from longctx.backends.endpoint.content import Sender
from longctx.backends.endpoint.counts import CountCheck
from longctx.compare.records import Said
from longctx.compare.source import TOP_LOGPROBS
from longctx.records import Prompt

_MAX_SEED = 2**31


class ServedSource:
    """A prompt that the server counts otherwise than was sent is a failure, not an answer."""

    def __init__(
        self,
        name: str,
        client: EndpointClient,
        sender: Sender,
        counts: CountCheck,
        fingerprint: Mapping[str, Any],
        concurrency: int,
        num_top_logprobs: int = TOP_LOGPROBS,
    ) -> None:
        """`num_top_logprobs` is 0 for a server that gives none."""
        self.name = name
        self.fingerprint = fingerprint
        self._client = client
        self._sender = sender
        self._counts = counts
        self._concurrency = concurrency
        self._num_top_logprobs = num_top_logprobs

    def greedy(self, prompt: Prompt) -> Said:
        return self._ask(prompt, 0.0, None)

    def draw(self, prompt: Prompt, num_samples: int, seed: int) -> tuple[str, ...]:
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="longctx-request")
        seeds = [(seed + number) % _MAX_SEED for number in range(num_samples)]
        try:
            said = list(pool.map(lambda one: self._ask(prompt, 1.0, one), seeds))
        finally:  # who stops a comparison does not wait for requests in flight: closing the client ends them
            pool.shutdown(wait=False, cancel_futures=True)
        return tuple(one.text for one in said if one.status in ("ok", "empty"))

    def _ask(self, prompt: Prompt, temperature: float, seed: int | None) -> Said:
        wanted = 0 if temperature else self._num_top_logprobs
        request = self._sender.request(prompt, wanted)
        outcome = self._client.ask(dataclasses.replace(request, temperature=temperature, seed=seed))
        if (reply := outcome.reply) is None:
            assert outcome.failure is not None
            return Said(outcome.failure.status)
        counted = reply.usage.num_prompt_tokens if reply.usage else None
        if fault := self._counts.fault(prompt.num_tokens, counted):
            return Said(fault[0])
        if reply.refusal:
            return Said("refused")
        return Said("ok" if reply.text else "empty", reply.text, reply.logprobs)
