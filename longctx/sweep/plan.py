"""What a sweep will do and cost, before any weight is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from longctx.config import SweepConfig
from longctx.documents.template import choose_template
from longctx.engine.cost import ITEM_BYTES, ModelShape
from longctx.engine.loading import ModelCard, choose_device, choose_dtype
from longctx.engine.tree import build_tree, tree_work
from longctx.errors import BudgetError, ConfigError
from longctx.lengths import doubling, format_length
from longctx.records import Design, Sample
from longctx.samples import make_samples, resolve_grid
from longctx.tasks import parse_task

_CHUNKS = {"cpu": 256, "cuda": 8192}
_MIN_CHUNK = 64
# A packed trial reads the end of a length's last chunk twice; together at most this share of its document.
_MAX_REREAD = 0.12


def default_lengths(window: int) -> tuple[int, ...]:
    """1k, doubling up to the window, and one a sixteenth past it."""
    return (*doubling(min(1024, window // 4), window), window + window // 16)


def resolve(config: SweepConfig, card: ModelCard) -> SweepConfig:
    """`config` with everything that was left open decided; raises ConfigError or ModelError."""
    if config.adaptive and config.design == "packed":
        raise ConfigError("An adaptive sweep chooses document by document: it needs --design isolated.")
    if config.template == "message":
        raise ConfigError("The template message is for servers that put their own around it: use chat or plain.")
    config = resolve_grid(config)
    lengths = choose_lengths(config, card.window, card.source.name, default_lengths(card.window))
    device = choose_device(config.device)
    return dataclasses.replace(
        config,
        task=tuple(parse_task(task).spec() for task in config.task),
        lengths=lengths,
        beyond_window=max(lengths) > card.window,
        canaries="yes" if config.canaries == "yes" else "no",
        device=device,
        dtype=choose_dtype(config.dtype, device),
        template=choose_template(config.template, "", card.tokenizer).kind,
        chunk=config.chunk or choose_chunk(device, config.design, lengths),
    )


def choose_lengths(config: SweepConfig, window: int, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """The lengths asked for, or the default; raises ConfigError for those over the window that were not asked to be."""
    beyond = [length for length in config.lengths if length > window]
    if beyond and not config.beyond_window:
        raise ConfigError(
            f"{', '.join(map(format_length, beyond))} is over the {format_length(window)} tokens that "
            f"{name} advertises; to measure it there all the same, add --beyond-window."
        )
    return config.lengths or default


def choose_chunk(device: str, design: str, lengths: Sequence[int]) -> int:
    """Tokens of a prefill chunk: what suits the device, in the packed design few enough to reread."""
    chunk = _CHUNKS["cpu" if device == "cpu" else "cuda"]
    while design == "packed" and chunk > _MIN_CHUNK and len(lengths) * chunk > _MAX_REREAD * max(lengths):
        chunk //= 2
    return chunk


@dataclass(frozen=True, slots=True)
class Cost:
    """What one design of a sweep takes."""

    num_cells: int
    num_samples: int
    num_documents: int
    num_prompt_tokens: int
    """Of all prompts, each counted whole."""
    num_prefill_tokens: int
    """That have to be computed, shared prefixes once."""
    flops: int


@dataclass(frozen=True, slots=True)
class Plan:
    costs: dict[Design, Cost | str]
    """By design; a text says why a design cannot be had."""
    samples: list[Sample]
    """Of the design that was asked for."""
    kv_bytes: int
    """Of one prompt of the longest length."""


def sample_cost(samples: Sequence[Sample], chunk: int, shape: ModelShape) -> Cost:
    """The cost of reading these samples' prompts over one tree."""
    work = tree_work(build_tree([sample.prompt for sample in samples], chunk))
    return Cost(
        num_cells=len({(s.cell.task, s.cell.length, s.cell.depth) for s in samples if s.control is None}),
        num_samples=len(samples),
        num_documents=len({s.prompt.document.id for s in samples if s.control is None}),
        num_prompt_tokens=sum(s.prompt.num_tokens for s in samples),
        num_prefill_tokens=work.num_tokens,
        flops=sum(shape.prefill_flops(start, stop) for start, stop in work.spans),
    )


def make_plan(config: SweepConfig, card: ModelCard) -> Plan:
    """Build the samples and cost both designs; raises BudgetError if the one asked for cannot be built."""
    costs: dict[Design, Cost | str] = {}
    chosen: list[Sample] = []
    for design in get_args(Design):
        # The other design is costed as it would run by itself: with its own chunk.
        chunk = config.chunk if design == config.design else choose_chunk(config.device, design, config.lengths)
        try:
            samples = make_samples(dataclasses.replace(config, design=design), card.tokenizer)
            costs[design] = sample_cost(samples, chunk, card.shape)
        except BudgetError as error:
            if design == config.design:
                raise
            costs[design] = str(error)
            continue
        if design == config.design:
            chosen = samples
    kv_bytes = card.shape.kv_bytes(max(config.lengths), ITEM_BYTES[config.dtype])
    return Plan(costs, chosen, kv_bytes)
