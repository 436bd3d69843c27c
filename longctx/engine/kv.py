"""The seam for the KV cache: all that the rest of the engine knows of it.

For now the cache is transformers' DynamicCache with one change: its full-attention layers write
into buffers with room to spare, where transformers copies all keys and values for every chunk and
every decoded token. Branches share a buffer; the first to be extended goes on in it, and the others
copy what is theirs when their turn comes. Sliding layers are transformers' own: they make new tensors
on every update, so a branch of them is a copy of the layer object. (They could not be cropped.)
"""

from __future__ import annotations

import copy
import threading
from typing import Any, TypeAlias

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from longctx.errors import ModelError

Cache: TypeAlias = DynamicCache

# Room that a new buffer gets beyond what it needs: an eighth of it, and a few answers' worth of tokens.
_SPARE_SHARE = 8
_SPARE_TOKENS = 64


class _Buffer:
    """Keys and values with room to spare, (batch, kv_heads, room, head_dim).

    0 ........ length of a branch ........ taken ........ room
      its own, never written again  another's      free
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, num_tokens: int) -> None:
        """A copy of `keys` and `values` with room for at least `num_tokens` tokens."""
        self._taken = keys.shape[2]
        self._lock = threading.Lock()  # branches are extended by different workers
        self._room = num_tokens + num_tokens // _SPARE_SHARE + _SPARE_TOKENS
        self.states = tuple(self._copy(states) for states in (keys, values))

    def _copy(self, states: torch.Tensor) -> torch.Tensor:
        batch, heads, past, size = states.shape
        buffer = states.new_empty(batch, heads, self._room, size)
        buffer[:, :, :past] = states
        return buffer

    def take(self, start: int, stop: int) -> bool:
        """Whether the tokens start..stop are free; they then belong to the caller."""
        with self._lock:
            free = self._taken == start and stop <= self._room
            if free:
                self._taken = stop
        return free

    def row(self, index: int, num_tokens: int) -> _Buffer:
        """One row, whose first `num_tokens` tokens stay; what follows them is written over."""
        twin = copy.copy(self)
        twin._lock, twin._taken = threading.Lock(), num_tokens
        twin.states = tuple(states[index : index + 1] for states in self.states)
        return twin


class GrowingLayer(DynamicLayer):  # type: ignore[misc] # transformers is untyped
    """Keys and values of one full-attention layer, views (batch, kv_heads, num_tokens, head_dim) of a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.is_initialized = False
        self._buffer: _Buffer | None = None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Append (batch, kv_heads, new, head_dim) keys and values; returns all of them."""
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
            self.is_initialized = True
        past = self.keys.shape[2]
        stop = past + key_states.shape[2]
        if self._buffer is None or not self._buffer.take(past, stop):
            self._buffer = _Buffer(self.keys, self.values, stop)
            self._buffer.take(past, stop)
        for states, new in zip(self._buffer.states, (key_states, value_states), strict=True):
            states[:, :, past:stop] = new
        self.keys, self.values = (states[:, :, :stop] for states in self._buffer.states)
        return self.keys, self.values

    def row(self, index: int, num_tokens: int) -> GrowingLayer:
        """The first tokens of one row, in the same memory; this layer must not be used any more."""
        twin = copy.copy(self)
        if self._buffer is not None:
            twin._buffer = self._buffer.row(index, num_tokens)
        twin.keys, twin.values = (s[index : index + 1, :, :num_tokens] for s in (self.keys, self.values))
        return twin

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Make `repeats` rows of one; they share memory until they are extended. Raises ValueError for more rows."""
        if self.keys.shape[0] != 1:
            raise ValueError(f"{self.keys.shape[0]} rows cannot be fanned out; one can")
        self.keys, self.values = (states.expand(repeats, -1, -1, -1) for states in (self.keys, self.values))
        self._buffer = None


def new_cache(config: Any) -> Cache:
    """An empty cache for a model of this config; raises ModelError for layers that cannot be branched."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    for layer in cache.layers:
        # Mamba, linear attention and indexed layers keep a state that is updated in place.
        if type(layer) not in (GrowingLayer, DynamicSlidingWindowLayer) and type(layer).__name__ != "DummyLayer":
            raise ModelError(f"Models with a cache of {type(layer).__name__} cannot be measured yet.")
    return cache


def branch(cache: Cache) -> Cache:
    """A cache with the same content; extending it leaves `cache` as it is, and the other way round."""
    twin = copy.copy(cache)
    twin.layers = [copy.copy(layer) for layer in cache.layers]
    return twin


def fan_out(cache: Cache, num_rows: int) -> Cache:
    """A branch for `num_rows` prompts that go on from the same prefix, as one batch."""
    twin = branch(cache)
    if num_rows > 1:
        twin.batch_repeat_interleave(num_rows)
    return twin


def can_go_back(cache: Cache) -> bool:
    """Whether tokens can be taken back; sliding layers have dropped what they would need for it."""
    return not any(type(layer) is DynamicSlidingWindowLayer for layer in cache.layers)


def take_row(cache: Cache, index: int, num_tokens: int) -> Cache:
    """The first `num_tokens` tokens of one row of a batch, nothing copied; the batch is then used up by its rows.

    Raises ValueError if the cache cannot go back.
    """
    if not can_go_back(cache):
        raise ValueError("a cache with sliding layers cannot go back")
    twin = copy.copy(cache)
    twin.layers = [layer.row(index, num_tokens) if isinstance(layer, GrowingLayer) else layer for layer in cache.layers]
    return twin
