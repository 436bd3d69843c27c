"""Branches against separate caches, in random orders of branching and extending."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Gemma3TextConfig, JambaConfig, LlamaConfig

from longctx.engine import kv
from longctx.errors import ModelError

LLAMA = LlamaConfig(num_hidden_layers=2)
GEMMA = Gemma3TextConfig(num_hidden_layers=2, sliding_window=6, layer_types=["sliding_attention", "full_attention"])


def states(start: int, count: int, mark: float) -> torch.Tensor:
    """Keys that tell position and branch apart, (1, 2, count, 4)."""
    return (torch.arange(start, start + count).float() + mark)[None, None, :, None].expand(1, 2, -1, 4).clone()


def extend(cache: Any, history: list[torch.Tensor], count: int, mark: float) -> None:
    start = sum(piece.shape[2] for piece in history)
    new = states(start, count, mark)
    history.append(new)
    for index, layer in enumerate(cache.layers):
        keys, values = cache.update(new, -new, index)
        whole = torch.cat(history, 2)
        seen = whole if not layer.is_sliding else whole[:, :, -keys.shape[2] :]
        assert torch.equal(keys, seen)
        assert torch.equal(values, -seen)


operations = st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.integers(1, 90)), min_size=1, max_size=25)


@given(st.sampled_from([LLAMA, GEMMA]), operations)
def test_no_branch_sees_another(config: Any, steps: list[tuple[int, bool, int]]) -> None:
    """Each step picks one of the living caches, and branches from it or extends it."""
    alive: list[tuple[Any, list[torch.Tensor]]] = [(kv.new_cache(config), [])]
    for number, (pick, branching, count) in enumerate(steps):
        cache, history = alive[pick % len(alive)]
        if branching and history:
            alive.append((kv.branch(cache), list(history)))
        else:
            extend(cache, history, count, mark=number / 100)
    for cache, history in alive:
        assert cache.get_seq_length() == sum(piece.shape[2] for piece in history)
        extend(cache, history, 1, mark=0.995)  # and all are still whole


def test_the_first_of_two_branches_to_be_extended_goes_on_in_place() -> None:
    cache = kv.new_cache(LLAMA)
    history: list[torch.Tensor] = []
    extend(cache, history, 100, 0.0)
    buffer = cache.layers[0].keys.data_ptr()
    extend(cache, history, 10, 0.0)
    assert cache.layers[0].keys.data_ptr() == buffer
    twin = kv.branch(cache)
    extend(twin, list(history), 1, 0.5)
    assert twin.layers[0].keys.data_ptr() == buffer
    extend(cache, history, 1, 0.0)
    assert cache.layers[0].keys.data_ptr() != buffer


def test_a_fan_is_a_batch_over_one_prefix() -> None:
    cache = kv.new_cache(LLAMA)
    extend(cache, [], 20, 0.0)
    fan = kv.fan_out(cache, 3)
    keys, _ = fan.update(*(states(20, 2, 0.5).expand(3, -1, -1, -1) for _ in "kv"), 0)
    assert keys.shape == (3, 2, 22, 4)
    assert torch.equal(keys[2, :, :20], states(0, 20, 0.0)[0])
    assert cache.get_seq_length() == 20


def test_rows_of_a_fan_go_on_by_themselves() -> None:
    """Each from where its own tokens end: what stands behind them, of a draft or padding, is written over."""
    cache = kv.new_cache(LLAMA)
    extend(cache, [], 20, 0.0)
    fan = kv.fan_out(cache, 2)
    new = torch.cat([states(20, 5, 0.25), states(20, 5, 0.5)])
    for index in range(2):
        fan.update(new, -new, index)
    for row, (mark, num_tokens) in enumerate([(0.25, 22), (0.5, 24)]):
        alone = kv.take_row(fan, row, num_tokens)
        extend(alone, [states(0, 20, 0.0), states(20, num_tokens - 20, mark)], 40, 0.75)
    assert cache.get_seq_length() == 20
    assert kv.can_go_back(fan)
    assert not kv.can_go_back(kv.new_cache(GEMMA))
    with pytest.raises(ValueError, match="sliding"):
        kv.take_row(kv.new_cache(GEMMA), 0, 0)


def test_layers_that_cannot_be_branched_are_refused() -> None:
    config = JambaConfig(num_hidden_layers=2, attn_layer_period=2, attn_layer_offset=1)
    with pytest.raises(ModelError, match="cannot be measured yet"):
        kv.new_cache(config)
