"""Attention over a long past without a mask, for CPUs.

A prefill chunk attends to everything before it, which needs no mask, and to itself, which is plain
causal. Two calls of torch's flash kernel give (output, log-sum-exp) each, and their merge is exact:

    lse = log(exp(lse_1) + exp(lse_2));  out = out_1 exp(lse_1 - lse) + out_2 exp(lse_2 - lse)

(Milakov and Gimelshein 2018, arXiv 1805.02867.) transformers' `sdpa` instead builds a mask of chunk x
context and repeats keys and values for every query head. Layers that do need a mask (sliding, chunked,
padded) go to `sdpa`; models that cannot run with `sdpa` (softcap, sinks) keep transformers' own choice.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, causal_mask_function, sdpa_mask

from longctx.errors import ModelError

NAME = "longctx"


def attention_to_load(asked: str, config: Any) -> str | None:
    """The implementation to load a model with; None leaves the choice to transformers.

    Models with a logit softcap take `eager`: transformers' `sdpa` refuses it or, before 5.23, drops it
    without a word. Raises ModelError if `asked` cannot be right.
    """
    softcap = getattr(config, "attn_logit_softcapping", None)
    if softcap and asked in (NAME, "sdpa"):
        raise ModelError(f"Attention {asked!r} has no logit softcap, which this model needs; use eager.")
    if asked not in ("auto", NAME):
        return asked
    return "eager" if softcap else None


def use_ours(model: Any, asked: str) -> None:
    """Switch a loaded model to our attention where it takes the place of `sdpa` on a CPU.

    Raises ModelError if it was asked for by name and cannot be had.
    """
    possible = (
        model.device.type == "cpu"
        and model.config._attn_implementation == "sdpa"
        and getattr(model, "_supports_attention_backend", False)
    )
    if possible and asked in ("auto", NAME):
        model.set_attn_implementation(NAME)
    elif asked == NAME:
        raise ModelError(f"Attention {NAME!r} needs a CPU and a model that runs with sdpa.")


def _mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Any = causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> torch.Tensor | None:
    """None where the mask would be plain causal; otherwise the dense one."""
    padded = attention_mask is not None and not bool(attention_mask.all())
    if mask_function is causal_mask_function and not padded and kv_offset == 0:
        return None
    mask: torch.Tensor | None = sdpa_mask(
        batch_size=batch_size,
        q_length=q_length,
        kv_length=kv_length,
        q_offset=q_offset,
        kv_offset=kv_offset,
        mask_function=mask_function,
        attention_mask=attention_mask,
        **{**kwargs, "allow_is_causal_skip": False},
    )
    return mask


def _partial(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(out, lse) of shapes (batch, heads, queries, head_dim) and (batch, heads, queries)."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = kernel(query, key, value, 0.0, causal, scale=scale)
    return out, lse


def _partial_past(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As _partial, not causal, with the query heads of a group in a row: longer rows make fuller tiles."""
    batch, heads, queries, size = query.shape
    kv_heads = key.shape[1]
    folded = query.reshape(batch, kv_heads, heads // kv_heads * queries, size)
    out, lse = _partial(folded, key, value, scale, causal=False)
    return out.reshape(query.shape), lse.reshape(batch, heads, queries)


def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None = None
) -> torch.Tensor:
    """Attention of the last queries of a sequence to all its keys, each to those up to its own.

    Shapes: query (batch, heads, num_queries, head_dim), key (batch, kv_heads, num_keys, head_dim), value
    the same with a head size up to that; num_keys >= num_queries and heads a multiple of kv_heads.
    Returns (batch, heads, num_queries, value's head size).
    """
    size = value.shape[-1]
    if size < key.shape[-1]:  # the kernel wants equal sizes; columns of zeros add nothing
        value = torch.nn.functional.pad(value, (0, key.shape[-1] - size))
        return causal_attention(query, key, value, scale)[..., :size]
    past = key.shape[2] - query.shape[2]
    if past == 0:
        return _partial(query, key, value, scale, causal=True)[0]
    out_past, lse_past = _partial_past(query, key[:, :, :past], value[:, :, :past], scale)
    out_new, lse_new = _partial(query, key[:, :, past:], value[:, :, past:], scale, causal=True)
    # exp(lse_1 - lse) and exp(lse_2 - lse) are a sigmoid and its complement.
    weight = torch.sigmoid(lse_past - lse_new).unsqueeze(-1)
    wide = torch.promote_types(query.dtype, torch.float32)  # a bfloat16 sum would round twice
    return torch.lerp(out_new.to(wide), out_past.to(wide), weight.to(wide)).to(query.dtype)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls; shapes as in causal_attention, the result with heads after queries.

    Raises CacheFilled in the layer whose index is passed to the model as `last_layer`.
    """
    if kwargs.pop("last_layer", None) == getattr(module, "layer_idx", -1):
        raise CacheFilled
    unusual = [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if unusual:
        raise ModelError(f"{type(module).__name__} uses {unusual[0]}, which attention {NAME!r} lacks; use eager.")
    if attention_mask is not None:
        result: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return result
    return causal_attention(query, key, value, scaling).transpose(1, 2).contiguous(), None


class CacheFilled(Exception):  # noqa: N818 - not an error: the forward has done what it was for
    """Ends a forward that is there to fill the cache, once the last layer has its keys and values."""


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, _mask)
