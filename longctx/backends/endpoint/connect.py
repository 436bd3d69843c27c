"""From a config to a backend: what the server adds to prompts is learnt before anything is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from longctx.backends.endpoint.backend import EndpointBackend
from longctx.backends.endpoint.client import EndpointClient
from longctx.backends.endpoint.config import EndpointConfig, read_key
from longctx.backends.endpoint.content import Sender, bare_prompt
from longctx.backends.endpoint.counts import CountCheck
from longctx.backends.endpoint.ledger import Ledger
from longctx.backends.endpoint.protocol import Reply, Request
from longctx.config import SweepConfig
from longctx.documents.tokenizer import Tokenizer
from longctx.errors import ModelError

# Two lengths: what a template adds is the same for both, what another tokenizer counts is not.
_SHORT = "Say yes."
_LONGER = " ".join(f"Box {n} holds {n * 37} glass beads, a folded map and the key to cellar {n + 4}." for n in range(5))
_ROOM = 4


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the first requests told about a server."""

    counts: CountCheck
    checks: dict[str, Any]
    """For the manifest: whether it counts, what it adds, what model and version it states."""


def connect(
    config: SweepConfig,
    settings: EndpointConfig,
    sleep: Callable[[float], None] | None = None,
    ledger: Ledger | None = None,
) -> EndpointClient:
    """A client for the server of `config`; nothing is sent yet. Raises ConfigError for a key that is not there."""
    key = read_key(settings.api_key_env)
    return EndpointClient(config.base_url, config.model, config.api, key, settings, sleep, ledger=ledger)


def greet(client: EndpointClient, config: SweepConfig, tokenizer: Tokenizer) -> Greeting:
    """Two short requests: does the server answer, and what does it count?

    Raises ModelError if it cannot be reached, or counts in a way that no cut could be told from.
    """
    sender = Sender(config.api, tokenizer)
    offsets: list[int] = []
    stated: dict[str, Any] = {}
    for text in (_SHORT, _LONGER):
        prompt = bare_prompt(text, config.template, tokenizer, _ROOM + config.thinking_tokens)
        reply = _first_reply(client, sender.request(prompt))
        stated = {"model": reply.model, "fingerprint": reply.fingerprint}
        if reply.usage:
            offsets.append(reply.usage.num_prompt_tokens - prompt.num_tokens)
    counts = _learn(offsets, config)
    checks = {"server": stated, "counts_tokens": bool(offsets), "offset_tokens": counts.offset}
    return Greeting(counts, checks)


def offers_logprobs(client: EndpointClient, config: SweepConfig, tokenizer: Tokenizer, num_top: int) -> bool:
    """Whether a greeted server takes a request for log-probabilities: some reject it, and some leave them out."""
    prompt = bare_prompt(_SHORT, config.template, tokenizer, _ROOM)
    outcome = client.ask(Sender(config.api, tokenizer).request(prompt, num_top))
    return outcome.reply is not None and bool(outcome.reply.logprobs)


def _first_reply(client: EndpointClient, request: Request) -> Reply:
    """A reply, in the dialect that the server asks for where it rejects the usual one; raises ModelError."""
    while True:
        outcome = client.ask(request)
        if outcome.reply is not None:
            return outcome.reply
        assert outcome.failure is not None
        dialect = client.dialect.after(outcome.failure)
        if dialect == client.dialect:
            raise ModelError(
                f"The server gives no answer to a short prompt: {outcome.failure.status}, {outcome.failure.reason}"
            )
        client.dialect = dialect


def _learn(offsets: list[int], config: SweepConfig) -> CountCheck:
    if not offsets:
        return CountCheck(0, config.count_tolerance)
    offset = offsets[0]
    if len(set(offsets)) > 1 and not config.count_tolerance:
        raise ModelError(
            f"The server counts {offsets[0]:+} tokens against --tokenizer on a short prompt and {offsets[-1]:+} on a "
            "longer one: it has another tokenizer. Name its own, or allow for the difference: --count-tolerance 0.1."
        )
    if config.api != "chat" and offset and not config.count_tolerance:
        bos = " A doubled BOS? Try --api tokens." if offset == 1 else ""
        raise ModelError(
            f"The server counts {offset:+} tokens on a prompt that it should take as it is.{bos} "
            "To go on all the same, add --count-tolerance."
        )
    return CountCheck(offset, config.count_tolerance)


def make_backend(
    client: EndpointClient, config: SweepConfig, tokenizer: Tokenizer, window: int, greeting: Greeting, concurrency: int
) -> EndpointBackend:
    """The backend of a greeted server. `window` is the advertised one, in tokens."""
    fingerprint = {
        "name": config.model,
        "window": window,
        "base_url": config.base_url,
        "api": config.api,
        "tokenizer": tokenizer.fingerprint,
        "offset_tokens": greeting.counts.offset,
        "temperature": 0.0 if client.dialect.has_temperature else "the server's own: it takes none",
    }
    return EndpointBackend(client, Sender(config.api, tokenizer), greeting.counts, fingerprint, concurrency)
