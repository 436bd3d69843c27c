"""Relations of whole ranges against the mask functions of transformers, position by position."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.masking_utils import (
    and_masks,
    causal_mask_function,
    chunked_causal_mask_function,
    sliding_window_causal_mask_function,
)

from longctx.engine.masks import lazy_mask
from longctx.errors import ModelError

SIZE = 12
MASKS = {
    "causal": (causal_mask_function, None),
    "sliding": (sliding_window_causal_mask_function(SIZE), SIZE),
    "chunked": (chunked_causal_mask_function(SIZE, torch.zeros(1, dtype=torch.long)), SIZE),
}


def test_only_a_mask_that_needs_its_tensors_keeps_them() -> None:
    function, size = MASKS["chunked"]
    padding = torch.ones(1, 30, dtype=torch.bool)
    assert lazy_mask(1, 10, 30, 20, 0, function, padding, size).device is None
    padding[0, 0] = False
    assert lazy_mask(1, 10, 30, 20, 0, function, padding, size).device == torch.device("cpu")
    beside = and_masks(function, sliding_window_causal_mask_function(SIZE))  # not Llama 4's own
    assert lazy_mask(1, 10, 30, 20, 0, beside, None, size).device == torch.device("cpu")
    assert lazy_mask(1, 10, 30, 20, 0, MASKS["sliding"][0], None, size).device is None


@given(st.sampled_from(sorted(MASKS)), st.integers(0, 40), st.integers(1, 30), st.integers(0, 60), st.integers(1, 30))
def test_a_relation_says_what_every_pair_does(name: str, query: int, queries: int, key: int, keys: int) -> None:
    function, size = MASKS[name]
    mask = lazy_mask(1, queries, key + keys, query, 0, function, local_size=size)
    key = min(key, query)  # parts begin before the queries or with them
    keys = min(keys, query - key) if key < query else queries
    q, k = torch.arange(query, query + queries), torch.arange(key, key + keys)
    seen = (k <= q[:, None]) & (
        torch.ones(1, dtype=torch.bool)
        if name == "causal"
        else (q[:, None] - k < SIZE if name == "sliding" else q[:, None] // SIZE == k // SIZE)
    )
    assert torch.equal(mask.visible(q[None], k[None])[0, 0], seen)
    relation = mask.relation(query, query + queries - 1, key, key + keys - 1)
    if relation == "all":
        assert seen.all()
    elif relation == "none":
        assert not seen.any()
    elif relation == "causal":
        assert torch.equal(seen, torch.ones(queries, queries, dtype=torch.bool).tril())
    else:
        assert seen.any()
        assert not seen.all() or keys == queries == 1


def test_padding_is_never_left_out() -> None:
    padding = torch.tensor([[0, 1, 1, 1]], dtype=torch.bool)
    mask = lazy_mask(1, 2, 4, 2, attention_mask=padding)
    assert mask.relation(2, 3, 0, 1) == "mixed"
    seen = mask.visible(torch.tensor([[2, 3]]), torch.arange(4)[None])
    assert seen[0, 0].tolist() == [[False, True, True, False], [False, True, True, True]]
    assert lazy_mask(1, 2, 4, 2, attention_mask=torch.ones(1, 4, dtype=torch.bool)).padding is None


def test_queries_may_be_cut_and_nothing_else_may_be_read() -> None:
    mask = lazy_mask(1, 10, 30, 20)
    last = mask[:, :, -1:, :]
    assert (last.start, last.num_queries, last.skipped) == (29, 1, 9)
    with pytest.raises(ModelError, match="reads its attention mask"):
        mask[:, 0]
