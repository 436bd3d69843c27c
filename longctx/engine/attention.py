"""Attention over keys and values that stay where they are: block by block, merged by log-sum-exp.

Registered with transformers under the name `longctx`, together with a mask that is never built. transformers' `sdpa`
instead makes a mask of chunk x context and repeats keys and values for every query head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, causal_mask_function

from longctx.engine.disk import States
from longctx.engine.kernels import Kernel
from longctx.engine.kv import StreamedCache, StreamedLayer, take_pending
from longctx.engine.masks import LazyMask, lazy_mask
from longctx.engine.partial import Merged, Partial, wide
from longctx.errors import ModelError

NAME = "longctx"
# Queries of a local layer that look at their windows at a time: all keys of a longer tile would mostly be masked.
_MIN_TILE = 256

_REFERENCE = Kernel("reference")


class CacheFilled(Exception):  # noqa: N818 - not an error: the forward has done what it was for
    """Ends a forward that is there to fill the cache, once the last layer has its keys and values."""


@dataclass(frozen=True)
class _Queries:
    """Queries (1, heads, n, dim) or (rows, heads, n, dim), with their positions (1 or rows, n)."""

    states: torch.Tensor
    positions: torch.Tensor
    """Where the mask wants them; a model on several devices makes its masks on the first."""
    first: int
    """The lowest of their positions."""
    last: int

    def rows_as_one(self) -> _Queries:
        """All rows' queries as those of one row: what they share is then streamed once."""
        if len(self.states) == 1:
            return self
        states = self.states.transpose(0, 1).flatten(1, 2).unsqueeze(0)
        return _Queries(states, self.positions.flatten().unsqueeze(0), self.first, self.last)


@dataclass(frozen=True)
class _Call:
    """One layer's attention: the queries, and how to compute a part."""

    queries: _Queries
    mask: LazyMask
    kernel: Kernel
    scale: float
    softcap: float | None
    expand: Callable[..., States] | None
    """For latent attention: makes keys and values of what the cache holds."""

    def part(self, queries: _Queries, states: States, start: int, expand: bool = True) -> Partial | None:
        """Attention to keys and values (1, kv_heads, n, dim) at the positions from `start` on; None if none is seen."""
        if expand and self.expand is not None:
            states = self.expand(*states)
        keys, values = states
        num_keys = keys.shape[2]
        relation = self.mask.relation(queries.first, queries.last, start, start + num_keys - 1)
        if relation == "none":
            return None
        if relation == "causal" and queries.positions.shape[1] != num_keys:
            relation = "mixed"  # rows side by side
        seen = None
        if relation == "mixed":
            positions = torch.arange(start, start + num_keys, device=queries.positions.device)
            seen = self.mask.visible(queries.positions, positions[None]).to(keys.device)
        return self.kernel(queries.states, keys, values, self.scale, relation == "causal", seen, self.softcap)


def _document_attention(layer: StreamedLayer, cache: StreamedCache, call: _Call, new: States) -> Partial:
    """Of a chunk of the document: to all before it, and to itself."""
    queries, merged = call.queries, Merged()
    start = cache.length
    views = layer.blocks.views(start)
    blocks = layer.stager.stream(views, layer.upcoming())
    for view, (keys, values) in zip(views, blocks, strict=True):
        part = call.part(queries, (keys[None], values[None]), view.start)
        if part is not None:
            merged.add(part)
    if layer.blocks.is_here(start):  # one rank sees to what all of them hold
        part = call.part(queries, new, start, expand=False)
        if part is not None:
            merged.add(part)
    return _of_all_ranks(layer, merged, queries.states, new[1].shape[-1])


def _of_all_ranks(layer: StreamedLayer, merged: Merged, queries: torch.Tensor, value_dim: int) -> Partial:
    """What this process has added up, merged with what the other holders of the layer's blocks have."""
    if layer.ranks.count == 1:
        return merged.result()
    if merged.is_empty:
        dtype = wide(queries.dtype)
        out = queries.new_zeros((*queries.shape[:3], value_dim), dtype=dtype)
        merged.add(Partial(out, queries.new_full(queries.shape[:3], -math.inf, dtype=dtype)))
    return layer.ranks.merged(merged.result())


def _tiles(call: _Call) -> Iterator[_Call]:
    """The call for some queries at a time, where they see only what is near."""
    queries, size = call.queries, max(_MIN_TILE, call.mask.local_size or 0)
    num_queries = queries.states.shape[2]
    for start in range(0, num_queries, size):
        stop = min(num_queries, start + size)
        tile = _Queries(
            queries.states[:, :, start:stop],
            queries.positions[:, start:stop],
            queries.first + start,
            queries.first + stop - 1,
        )
        yield _Call(tile, call.mask, call.kernel, call.scale, call.softcap, call.expand)


def _local_attention(layer: StreamedLayer, cache: StreamedCache, call: _Call, new: States) -> Partial:
    """As _document_attention, for a layer whose past is short: a tile of queries looks at its own window alone."""
    views = layer.blocks.views(cache.length)
    past = [(view.start, states) for view, states in zip(views, layer.stager.stream(views), strict=True)]
    outs, lses = [], []
    for tile in _tiles(call):
        merged, first = Merged(), tile.queries.first - (layer.blocks.reach or 0)
        for start, (keys, values) in past:
            skip = max(0, first - start)
            if skip < keys.shape[1]:
                part = tile.part(tile.queries, (keys[None, :, skip:], values[None, :, skip:]), start + skip)
                if part is not None:
                    merged.add(part)
        skip, stop = max(0, first - cache.length), tile.queries.last + 1 - cache.length
        near = new[0][:, :, skip:stop], new[1][:, :, skip:stop]
        part = tile.part(tile.queries, near, cache.length + skip, expand=False)
        if part is not None:
            merged.add(part)
        out, lse = merged.result()
        outs.append(out)
        lses.append(lse)
    return Partial(torch.cat(outs, 2), torch.cat(lses, 2))


def _question_attention(layer: StreamedLayer, cache: StreamedCache, call: _Call) -> Partial:
    """Of rows of questions: to the document and the stem, streamed once for all rows, and each to its own tail."""
    merged = Merged()
    queries = call.queries
    num_rows, _, num_queries, _ = queries.states.shape
    together = queries.rows_as_one()

    def add(part: Partial | None) -> None:
        if part is not None and num_rows > 1:
            out, lse = (x[0].reshape(-1, num_rows, num_queries, *x.shape[3:]).transpose(0, 1) for x in part)
            part = Partial(out, lse)
        if part is not None:
            merged.add(part)

    views = layer.blocks.views(layer.blocks.length)
    blocks = layer.stager.stream(views, layer.upcoming())
    for view, (keys, values) in zip(views, blocks, strict=True):
        add(call.part(together, (keys[None], values[None]), view.start))
    assert layer.tail.states is not None
    tail = layer.tail.states if call.expand is None else call.expand(*layer.tail.states)
    if layer.blocks.is_here(cache.base):  # one rank sees to what all of them hold
        if layer.stem.states is not None:
            add(call.part(together, layer.stem.states, cache.stem_start))
        merged.add(_tail_attention(cache, call, tail))
    return _of_all_ranks(layer, merged, queries.states, tail[1].shape[-1])


def _tail_attention(cache: StreamedCache, call: _Call, states: States) -> Partial:
    """Of each row to its own tail, the keys and values (rows, kv_heads, columns, dim)."""
    queries = call.queries
    where = cache.positions_on(queries.positions.device)
    if where.in_step and queries.states.shape[2] == where.num_columns:
        # Padding comes after a row's tokens, where a causal query does not see it.
        last = where.first + where.num_columns - 1
        if call.mask.relation(where.first, last, where.first, last) == "causal":
            return call.kernel(queries.states, *states, call.scale, True, None, call.softcap)
    seen = call.mask.visible(queries.positions, where.positions)
    seen = (seen & where.valid[:, None, None, :]).to(queries.states.device)
    # A query of padding may see nothing at all; what comes of it is not read, but it must not be NaN.
    return call.kernel(queries.states, *states, call.scale, False, seen, call.softcap)


def _foreign_attention(
    query: torch.Tensor, states: States, mask: LazyMask | None, scale: float, softcap: float | None
) -> Partial:
    """Of a forward without our cache: keys and values are whole."""
    num_queries, num_keys = query.shape[2], states[0].shape[2]
    offset = num_keys - num_queries
    if mask is None:
        mask = LazyMask(causal_mask_function, offset, num_queries)
    keys = torch.arange(num_keys, device=mask.device or query.device)
    seen = mask.visible(keys[None, offset:], keys[None]).expand(len(query), -1, -1, -1).to(query.device)
    return _REFERENCE(query, *states, scale, False, seen, softcap)


def _find_layer(module: torch.nn.Module, key: torch.Tensor, value: torch.Tensor) -> tuple[StreamedLayer | None, Any]:
    """The layer that holds this key, and what makes keys of its content; raises ModelError where keys were changed."""
    pending = take_pending()
    reference = getattr(key, "longctx_layer", None)
    if reference is not None:
        layer: StreamedLayer | None = reference()
        if layer is not None and value is not layer.given_value():
            raise ModelError(f"{type(module).__name__} changes values between the cache and attention.")
        return layer, None
    if pending is None or pending.index != getattr(module, "layer_idx", None):
        return None, None
    expand = getattr(module, "expand_kv", None)
    if expand is None:
        raise ModelError(f"{type(module).__name__} changes keys between the cache and attention.")
    return pending, expand


def streamed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: LazyMask | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    last_layer: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls: (batch, queries, heads, value_dim) from query (batch, heads, queries, dim) and the new
    key and value (batch, kv_heads, new, dim).

    Raises CacheFilled in the layer whose index is passed to the model as `last_layer`, ModelError for what
    this attention does not know.
    """
    if kwargs.get("position_bias") is not None:
        raise ModelError(f"{type(module).__name__} uses position_bias, which streamed attention does not know.")
    layer, expand = _find_layer(module, key, value)
    if last_layer is not None and last_layer == getattr(module, "layer_idx", None):
        raise CacheFilled
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    cache = None if layer is None else layer.cache()
    if layer is None or cache is None:
        partial = _foreign_attention(query, (key, value), attention_mask, scale, softcap)
    else:
        partial = _streamed(layer, cache, query, (key, value), attention_mask, scale, softcap, expand)
    out = partial.out
    if s_aux is not None:  # a sink is one more key, with no value
        sink = s_aux.to(partial.lse.dtype).view(1, -1, 1)
        out = out * torch.sigmoid(partial.lse - sink).unsqueeze(-1)
    return out.to(query.dtype).transpose(1, 2).contiguous(), None


def _streamed(
    layer: StreamedLayer,
    cache: StreamedCache,
    query: torch.Tensor,
    new: States,
    mask: LazyMask | None,
    scale: float,
    softcap: float | None,
    expand: Any,
) -> Partial:
    if mask is None:
        mask = LazyMask(causal_mask_function, cache.length, query.shape[2])
    if mask.padding is not None:
        raise ModelError("Padding on the left cannot be streamed; rows of different lengths are padded at their end.")
    device, kernel = mask.device or query.device, cache.tiers.kernel
    if cache.positions is None:
        first = mask.start
        positions = torch.arange(first, first + mask.num_queries, device=device)[None]
        queries = _Queries(query, positions, first, first + mask.num_queries - 1)
        call = _Call(queries, mask, kernel, scale, softcap, expand)
        attend = _document_attention if layer.blocks.reach is None else _local_attention
        return attend(layer, cache, call, new)
    new_rows = cache.new_positions()
    taken = slice(mask.skipped, mask.skipped + mask.num_queries)
    rows, on_device = new_rows[:, taken], cache.positions_on(device).positions[:, -new_rows.shape[1] :][:, taken]
    queries = _Queries(query, on_device, int(rows.min()), int(rows.max()))
    return _question_attention(layer, cache, _Call(queries, mask, kernel, scale, softcap, expand))


AttentionInterface.register(NAME, streamed_attention)
AttentionMaskInterface.register(NAME, lazy_mask)
