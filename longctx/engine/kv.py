"""The seam for the KV cache: all that the rest of the engine knows of it.

For now the cache is transformers' own DynamicCache. Its layers never write into a tensor that they
handed out: every update makes a new one. So a branch is a copy of the layer objects, which share
their tensors until either side is extended. This holds for sliding layers too, which cannot be cropped.
"""

from __future__ import annotations

import copy
from typing import Any, TypeAlias

import torch
from transformers import DynamicCache

Cache: TypeAlias = DynamicCache


def new_cache(config: Any) -> Cache:
    """An empty cache for a model of this config."""
    return DynamicCache(config=config)


def branch(cache: Cache) -> Cache:
    """A cache with the same content; extending one leaves the other as it is."""
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
    twin = copy.copy(layer)
    for name, value in vars(layer).items():
        if name in ("keys", "values"):
            continue
        if torch.is_tensor(value):
            setattr(twin, name, value.clone())
        elif isinstance(value, dict):
            setattr(twin, name, {key: v.clone() if torch.is_tensor(v) else v for key, v in value.items()})
    return twin
