"""Attention to a part of the keys, and the exact merge of parts.

A part gives (out, lse): its softmax-weighted values, and the log of the sum of its exponentiated scores.
Two parts of disjoint keys merge to what one softmax over both would give:

    lse = log(exp(lse_1) + exp(lse_2));  out = out_1 exp(lse_1 - lse) + out_2 exp(lse_2 - lse)

(Milakov and Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022, arXiv 2205.14135.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

# Queries that the reference scores at a time: its scores are all of (heads, queries, keys).
_TILE = 512


class Partial(NamedTuple):
    out: torch.Tensor
    """(batch, heads, queries, value_dim)"""
    lse: torch.Tensor
    """(batch, heads, queries), float32 or wider; -inf for a query that sees no key of the part"""


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype to accumulate in: a bfloat16 sum would be rounded at each part."""
    return torch.promote_types(dtype, torch.float32)


class Merged:
    """Parts added up, in float32 or wider."""

    def __init__(self) -> None:
        self._out: torch.Tensor | None = None
        self._lse: torch.Tensor | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no part was added."""
        return self._out is None

    def add(self, part: Partial) -> None:
        """Take in a part of keys that no part before it had; its tensors may be written to."""
        dtype = wide(part.out.dtype)
        out, lse = part.out.to(dtype), part.lse.to(dtype)
        if self._out is None or self._lse is None:
            self._out, self._lse = out, lse
            return
        # exp(lse_2 - lse) is a sigmoid. Neither sees a key: -inf - -inf is not a number, and any weight will do.
        weight = torch.sigmoid(lse - self._lse).nan_to_num_(0.5)
        self._out = self._out.lerp_(out, weight.unsqueeze(-1))
        self._lse = torch.logaddexp(self._lse, lse)

    def result(self) -> Partial:
        """The parts as one; raises ValueError if there was none."""
        if self._out is None or self._lse is None:
            raise ValueError("no part was added")
        return Partial(self._out, self._lse)


def reference_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    causal: bool = False,
    mask: torch.Tensor | None = None,
    softcap: float | None = None,
) -> Partial:
    """Attention written out in matrix products, for any device, dtype and mask.

    Shapes: query (batch, heads, queries, head_dim), key (batch, kv_heads, keys, head_dim), value the same with a
    dim of its own, mask (batch or 1, heads or 1, queries, keys), True where a query sees a key. `causal` lets
    query i see the keys up to i. Scores are capped to softcap * tanh(score / softcap) (Gemma 2).
    """
    dtype = wide(query.dtype)
    batch, heads, queries, _ = query.shape
    kv_heads, keys = key.shape[1:3]
    key, value = key.to(dtype).unsqueeze(2), value.to(dtype).unsqueeze(2)
    grouped = query.to(dtype).reshape(batch, kv_heads, heads // kv_heads, queries, query.shape[-1])
    if mask is not None:
        mask = mask.expand(batch, heads, queries, keys).reshape(batch, kv_heads, -1, queries, keys)
    outs, lses = [], []
    for start in range(0, queries, _TILE):
        rows = slice(start, start + _TILE)
        scores = grouped[:, :, :, rows] @ key.transpose(-1, -2) * scale
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        if causal:
            scores = scores.masked_fill(_later(start, scores.shape[-2], keys, query.device), -math.inf)
        if mask is not None:
            scores = scores.masked_fill(~mask[..., rows, :], -math.inf)
        lse = scores.logsumexp(-1)
        weights = (scores - lse.masked_fill(lse == -math.inf, 0.0).unsqueeze(-1)).exp()
        outs.append((weights @ value).flatten(1, 2))
        lses.append(lse.flatten(1, 2))
    return Partial(torch.cat(outs, 2), torch.cat(lses, 2))


def _later(start: int, queries: int, keys: int, device: torch.device) -> torch.Tensor:
    """Which keys come after each of the queries start, start + 1, ..."""
    positions = torch.arange(start, start + queries, device=device)
    return torch.arange(keys, device=device) > positions.unsqueeze(-1)
