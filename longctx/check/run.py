"""All checks of one model, in the order in which they cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch

from longctx.check.attention import check_attention
from longctx.check.boundaries import TextIds, check_boundaries
from longctx.check.finding import Finding
from longctx.check.logits import check_logits
from longctx.check.queries import check_head_norms, check_temperature
from longctx.check.rope import check_rope
from longctx.check.sight import check_sight
from longctx.check.template import check_template
from longctx.check.window import check_window
from longctx.documents.tokenizer import HubTokenizer
from longctx.engine.kernels import choose_kernel
from longctx.engine.loading import ModelCard, choose_device, choose_dtype, load_own
from longctx.engine.machine import free_bytes
from longctx.engine.rope import freeze_rope
from longctx.engine.selftest import head_shapes, stream
from longctx.haystack.narrator import narrate

# Of the memory that is free: weights or scores may take so much.
_SHARE = 0.8


def _dtype(asked: str, card: ModelCard, device: str) -> str:
    """float32 for auto where the weights fit twice, else the dtype that a sweep would take."""
    fits = 2 * 4 * card.shape.parameters.num_all < _SHARE * free_bytes(device)
    return "float32" if asked == "auto" and fits else choose_dtype(asked, device)


def random_text(vocabulary: int) -> TextIds:
    """Token ids that mean nothing."""
    return lambda num_tokens: torch.randint(vocabulary, (num_tokens,), generator=torch.Generator().manual_seed(0))


def narrated_text(tokenizer: HubTokenizer) -> TextIds:
    """Token ids of English sentences."""

    def ids(num_tokens: int) -> torch.Tensor:
        found: list[int] = list(tokenizer.prefix_ids)
        sentences = narrate(0)
        while len(found) < num_tokens:
            found += tokenizer.encode(" ".join(itertools.islice(sentences, 200))).token_ids.tolist()
        return torch.tensor(found[:num_tokens])

    return ids


def check_code(model: Any, config: Any, window: int, longest: int, free: int) -> Iterator[Finding]:
    """The model's code against what its config says: no text is needed. `free` is in bytes."""
    yield from check_rope(model, config, window)
    freeze_rope(model, longest)
    yield from check_logits(model, config)
    yield from check_attention(model, config, longest)
    yield from check_sight(model, config, longest, free)
    yield from check_head_norms(model)
    yield from check_temperature(model, config, longest)


def check_model(card: ModelCard, dtype: str, device: str, longest: int) -> Iterator[Finding]:
    """Everything about a model, `longest` tokens at most; raises ModelError for one that cannot be streamed."""
    yield from check_window(card.config, card.window, int(card.tokenizer.hub.model_max_length))
    yield from check_template(card.tokenizer.hub)
    device = choose_device(device)
    model = load_own(card, _dtype(dtype, card, device), device)
    stream(model)  # refuses what has no interface for attention
    model.set_attn_implementation("eager")
    yield from check_code(model, card.config, card.window, longest, int(_SHARE * free_bytes(device)))
    kernel = choose_kernel("auto", head_shapes(model.config), model.dtype, device)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    texts = {"random": random_text(vocabulary), "text": narrated_text(card.tokenizer)}
    yield from check_boundaries(model, card.config, kernel, texts, longest, int(_SHARE * free_bytes(device)))
