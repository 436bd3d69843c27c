"""The seam for the KV cache: all that the rest of the engine knows of it.

For now the cache is transformers' DynamicCache with one change: its full-attention layers write
into buffers with room to spare, where transformers copies all keys and values for every chunk and
every decoded token. A branch shares its origin's buffer until it is extended itself, and then
copies it: the origin goes on in place, unharmed. Sliding layers are transformers' own. They make
new tensors on every update, so a branch of them is a copy of the layer object; they could not be cropped.
"""

from __future__ import annotations

import copy
from typing import Any, TypeAlias

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

Cache: TypeAlias = DynamicCache

# Room that an extended buffer gets beyond what it needs: an eighth of it, and a few answers' worth of tokens.
_SPARE_SHARE = 8
_SPARE_TOKENS = 64


class GrowingLayer(DynamicLayer):  # type: ignore[misc] # transformers is untyped
    """Keys and values of one full-attention layer, (batch, kv_heads, num_tokens, head_dim) views of larger buffers."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None
        """None where there is nothing yet, or where the buffers belong to the layer that this is a branch of."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Append (batch, kv_heads, new, head_dim) keys and values; returns all of them."""
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
            self.is_initialized = True
        past = self.keys.shape[2]
        stop = past + key_states.shape[2]
        if self._buffers is None or self._buffers[0].shape[2] < stop:
            self._buffers = _extended(self.keys, stop), _extended(self.values, stop)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, past:stop] = new
        self.keys, self.values = (buffer[:, :, :stop] for buffer in self._buffers)
        return self.keys, self.values

    def branch(self) -> GrowingLayer:
        twin = copy.copy(self)
        twin._buffers = None
        return twin

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self._buffers = None


def _extended(states: torch.Tensor, num_tokens: int) -> torch.Tensor:
    """A buffer with `states` at its start and room for at least `num_tokens` tokens."""
    batch, heads, past, size = states.shape
    room = num_tokens + num_tokens // _SPARE_SHARE + _SPARE_TOKENS
    buffer = states.new_empty(batch, heads, room, size)
    buffer[:, :, :past] = states
    return buffer


def new_cache(config: Any) -> Cache:
    """An empty cache for a model of this config."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def branch(cache: Cache) -> Cache:
    """A cache with the same content; extending it leaves `cache` as it is, and the other way round."""
    twin = copy.copy(cache)
    twin.layers = [_branch_layer(layer) for layer in cache.layers]
    return twin


def fan_out(cache: Cache, num_rows: int) -> Cache:
    """A branch for `num_rows` prompts that go on from the same prefix, as one batch."""
    twin = branch(cache)
    if num_rows > 1:
        twin.batch_repeat_interleave(num_rows)
    return twin


def _branch_layer(layer: Any) -> Any:
    """Layers with a state that is updated in place (Mamba, linear attention) are copied with it."""
    if isinstance(layer, GrowingLayer):
        return layer.branch()
    twin = copy.copy(layer)
    for name, value in vars(layer).items():
        if name in ("keys", "values"):
            continue
        if torch.is_tensor(value):
            setattr(twin, name, value.clone())
        elif isinstance(value, dict):
            setattr(twin, name, {key: v.clone() if torch.is_tensor(v) else v for key, v in value.items()})
    return twin
