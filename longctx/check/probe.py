"""What each layer asks of attention, and what its own attention answers, while a prompt passes through the model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from longctx.engine.masks import LazyMask, lazy_mask

NAME = "longctx_probe"


@dataclass(frozen=True, slots=True, eq=False)
class LayerCall:
    """One layer's call of attention, for some of its queries."""

    module: Any
    positions: torch.Tensor
    """(rows,) of the queries."""
    queries: torch.Tensor
    """(batch, heads, rows, dim), as the layer hands them over: normed, rotated, and scaled if it does that."""
    keys: torch.Tensor
    """(batch, kv_heads, tokens, dim)"""
    values: torch.Tensor
    """(batch, kv_heads, tokens, value_dim)"""
    seen: torch.Tensor
    """(rows, tokens): what the mask that the model asked for lets these queries see."""
    arguments: Mapping[str, Any]
    """scaling, softcap, s_aux and whatever else the layer passes."""
    own: torch.Tensor | None
    """(batch, rows, heads, value_dim) from the model's own eager attention under that mask, if it has one."""

    @property
    def layer(self) -> int:
        return int(self.module.layer_idx)


@contextlib.contextmanager
def attention_of(model: Any, name: str) -> Iterator[None]:
    """The model runs with another attention inside."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _own_attention(module: Any) -> Callable[..., Any] | None:
    found: Callable[..., Any] | None = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    return found


@torch.inference_mode()
def probe(model: Any, ids: torch.Tensor, rows: Sequence[int], visit: Callable[[LayerCall], None]) -> None:
    """Read `ids` (batch, tokens), and show `visit` every layer's call for the queries at positions `rows`.

    Time and memory grow with the tokens, not their square: instead of attention each token gets its own value, so the
    calls are of real layers on made-up states.
    """

    def attention(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: LazyMask | None,
        **arguments: Any,
    ) -> tuple[torch.Tensor, None]:
        tokens = torch.arange(key.shape[2], device=query.device)
        left_out = len(tokens) - query.shape[2]  # some layers compute only the last queries
        picked = torch.tensor([row for row in rows if row >= left_out], dtype=torch.long, device=query.device)
        some = query[:, :, picked - left_out]
        causal = tokens[None] <= picked[:, None]
        seen = causal if mask is None else mask.visible(picked[None], tokens[None])[0, 0]
        own, out = _own_attention(module), None
        if own is not None and len(picked):
            wide = torch.promote_types(query.dtype, torch.float32)  # its code is looked at, not its rounding
            dense = torch.zeros(seen.shape, dtype=wide, device=query.device)
            dense = dense.masked_fill(~seen, torch.finfo(wide).min)[None, None].expand(len(query), -1, -1, -1)
            out = own(module, some.to(wide), key.to(wide), value.to(wide), dense, **arguments)[0]
        if len(picked):
            visit(LayerCall(module, picked, some, key, value, seen, arguments, out))
        value = value[:, :, left_out:]
        return value.repeat_interleave(query.shape[1] // value.shape[1], 1).transpose(1, 2).contiguous(), None

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, lazy_mask)
    with attention_of(model, NAME):
        model(input_ids=ids.to(model.device), use_cache=False, logits_to_keep=1)
