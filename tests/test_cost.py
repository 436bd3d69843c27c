from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from transformers import Gemma3TextConfig, LlamaConfig

from longctx.engine.cost import ModelShape


def shape(windows: tuple[int | None, ...]) -> ModelShape:
    return ModelShape(4, 2, 8, 1000, windows)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 60))
def test_flops_are_the_sum_over_tokens(start: int, count: int, window: int) -> None:
    found = shape((None, window)).prefill_flops(start, start + count)
    seen = sum(position + 1 + min(position + 1, window) for position in range(start, start + count))
    assert found == 2 * 1000 * count + 4 * 4 * 8 * seen


def test_published_sizes() -> None:
    """Llama 3.1 8B: 131,072 bytes of KV cache a token in bfloat16, and about 7.0e9 parameters in its matrices."""
    config = LlamaConfig(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128256,
    )
    llama = ModelShape.from_config(config)
    assert llama.kv_bytes(1, itemsize=2) == 131_072
    assert llama.kv_bytes(2**20, itemsize=2) == 131_072 * 2**20
    assert llama.num_matrix_parameters == 8_030_261_248 - 2 * 128256 * 4096


def test_sliding_layers_keep_no_more_than_their_window() -> None:
    config = Gemma3TextConfig(
        num_hidden_layers=18,
        hidden_size=640,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        sliding_window=512,
        layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 3,
        vocab_size=1000,
    )
    gemma = ModelShape.from_config(config)
    assert gemma.kv_bytes(32768, 2) - gemma.kv_bytes(32767, 2) == 3_072
    assert gemma.kv_bytes(32768, 2) == 3_072 * 32768 + 15 * 512 * 1024
