"""What a sweep of a served model will ask, and what that costs, before anything is sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from longctx.backends.endpoint.config import EndpointConfig
from longctx.config import SweepConfig
from longctx.documents.template import choose_template
from longctx.documents.tokenizer import Tokenizer
from longctx.errors import ConfigError
from longctx.lengths import doubling
from longctx.records import Sample
from longctx.samples import resolve_grid
from longctx.sweep.plan import choose_lengths
from longctx.tasks import parse_task

# Where servers state their window: vLLM, OpenRouter, LM Studio, llama.cpp.
_WINDOW_KEYS = ("max_model_len", "context_length", "max_context_length", "n_ctx")


def resolve_endpoint(config: SweepConfig, tokenizer: Tokenizer, window: int) -> SweepConfig:
    """`config` with everything that was left open decided; `window` is the advertised one, in tokens.

    Raises ConfigError. What only a model in this process can be told is as it was left.
    """
    config = resolve_grid(config)
    lengths = choose_lengths(config, window, config.model, tuple(doubling(min(1024, window // 4), window)))
    if config.api == "chat" and config.template not in ("auto", "message"):
        raise ConfigError(f"--api chat sends a message, and the server its own template; not {config.template}.")
    if config.api != "chat" and config.template == "message":
        raise ConfigError(f"--api {config.api} sends whole prompts: use --template chat or plain.")
    template = "message" if config.api == "chat" else choose_template(config.template, "", tokenizer).kind
    return dataclasses.replace(
        config,
        task=tuple(parse_task(task).spec() for task in config.task),
        lengths=lengths,
        beyond_window=max(lengths) > window,
        template=template,
        window=window,
        canaries="no" if config.canaries == "no" else "yes",
    )


def stated_window(model: str, models: Sequence[dict[str, Any]]) -> int | None:
    """The window of `model` in a server's list of models; None where it is not said."""
    for entry in models:
        meta = entry.get("meta") or {}
        found = [entry.get(key) or meta.get(key) for key in _WINDOW_KEYS]
        stated = next((value for value in found if isinstance(value, int) and value > 0), None)
        if stated and (entry.get("id") == model or len(models) == 1):
            return stated
    return None


@dataclass(frozen=True, slots=True)
class EndpointCost:
    """What samples take if every request succeeds at once."""

    num_requests: int
    num_prompt_tokens: int
    max_completion_tokens: int
    max_cost: float
    """If every answer takes all of its room; 0.0 without prices."""


def endpoint_cost(samples: Sequence[Sample], settings: EndpointConfig) -> EndpointCost:
    """The cost of asking all `samples`."""
    prompts = sum(sample.prompt.num_tokens for sample in samples)
    completions = sum(sample.prompt.max_new_tokens for sample in samples)
    return EndpointCost(len(samples), prompts, completions, settings.cost(prompts, completions))
