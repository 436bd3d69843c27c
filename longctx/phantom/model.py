"""A phantom's weights: a stock LlamaForCausalLM, or with local layers SmolLM3ForCausalLM, written entry by entry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from longctx.phantom.code_book import make_codes
from longctx.phantom.design import Design
from longctx.phantom.head import Head
from longctx.phantom.layout import (
    CODE_BITS,
    HEAD_DIM,
    HIDDEN,
    LAYOUT,
    MATCH_BITS,
    NUM_BACK,
    NUM_PREVIOUS_LAYERS,
    ROOT,
    ROPE_THETA,
    SLOT_SCALE,
)
from longctx.phantom.matching import require_same_parity, write_matching
from longctx.phantom.parity import write_parity
from longctx.phantom.previous import write_previous
from longctx.phantom.profile import solve
from longctx.phantom.tokens import Tokens


@torch.no_grad()
def build_model(design: Design, tokens: Tokens, misread: Mapping[int, int]) -> Any:
    """The model in float32; `misread` maps digit tokens to those that are said instead. Raises ConfigError."""
    model = _empty_model(design, tokens)
    # A misread digit is compared as the one that is said, or what follows it would not be found again.
    codes = torch.from_numpy(make_codes(tokens.num, [*tokens.distinct, *misread.values()], misread))
    _write_embeddings(model.model.embed_tokens.weight, codes, design, tokens, misread)
    model.model.norm.weight[CODE_BITS:] = 0.0
    heads = [Head(layer) for layer in model.model.layers]
    for index, head in enumerate(heads[:NUM_PREVIOUS_LAYERS]):
        write_previous(head, index)
    edges = design.edges
    if design.chunk is not None:
        write_parity(heads[NUM_PREVIOUS_LAYERS], design.chunk)
        require_same_parity(heads[-1])
        edges = (design.chunk,)
    profile = solve(edges, design.advertise) if edges else None
    write_matching(heads[-1], profile, codes, tokens.end, misread)
    return model.float().eval()


def _empty_model(design: Design, tokens: Tokens) -> Any:
    """All weights 0 but those of the norms, in float64."""
    from transformers import LlamaConfig, LlamaForCausalLM, SmolLM3Config, SmolLM3ForCausalLM

    num_others = 1 + (design.chunk is not None)
    sizes: dict[str, Any] = {
        "vocab_size": tokens.num,
        "hidden_size": HIDDEN,
        "intermediate_size": 16,
        "num_hidden_layers": NUM_PREVIOUS_LAYERS + num_others,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": design.advertise,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
        "bos_token_id": tokens.bos,
        "eos_token_id": tokens.end,
    }
    if design.local is None:
        model: Any = LlamaForCausalLM(LlamaConfig(**sizes)).double()
    else:  # the only such family without norms of its own that leaves a folder's tokenizer as it is
        kinds = ["sliding_attention"] * NUM_PREVIOUS_LAYERS + ["full_attention"] * num_others
        sizes |= {"use_sliding_window": True, "sliding_window": design.local, "layer_types": kinds}
        sizes |= {"no_rope_layers": [1] * len(kinds), "pad_token_id": None}  # all rotate
        model = SmolLM3ForCausalLM(SmolLM3Config(**sizes)).double()
    for name, parameter in model.named_parameters():
        parameter.fill_(1.0 if "norm" in name else 0.0)
    return model


def _write_embeddings(
    table: torch.Tensor, codes: torch.Tensor, design: Design, tokens: Tokens, misread: Mapping[int, int]
) -> None:
    """A token's code, a constant and flags, and a filler that makes the RMS 1 once the slots are full."""
    table[:, :CODE_BITS], table[:, LAYOUT.constant] = codes, 1.0
    table[list(tokens.stops), LAYOUT.stop] = 1.0
    table[[tokens.last_of_key[word] for word in design.muted], LAYOUT.muted] = 1.0
    for number, read in enumerate(misread):
        table[read, LAYOUT.misread + number] = 1.0
    slots = NUM_BACK * MATCH_BITS * SLOT_SCALE**2
    table[:, LAYOUT.filler] = (HIDDEN - (table**2).sum(1) - slots).sqrt()
    table[tokens.bos] = 0.0
    table[tokens.bos, LAYOUT.bos] = ROOT
    assert math.isfinite(float(table.sum()))
