from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tf
import zoo
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from longctx.engine.cost import LayerShape, ModelShape, Parameters
from longctx.errors import ModelError

LLAMA_8B: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
SCOUT: dict[str, Any] = {
    "hidden_size": 5120,
    "intermediate_size": 8192,
    "intermediate_size_mlp": 16384,
    "num_hidden_layers": 48,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "num_local_experts": 16,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 1,
    "no_rope_layers": [1, 1, 1, 0] * 12,
    "attention_chunk_size": 8192,
    "vocab_size": 202048,
}
DEEPSEEK_V3: dict[str, Any] = {
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "first_k_dense_replace": 3,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "vocab_size": 129280,
}


def shape(*layers: tuple[int | None, bool]) -> ModelShape:
    """Layers with windows, chunked or not, of 4 heads of 8 dimensions over 2 of keys and values."""
    return ModelShape(
        tuple(LayerShape(4, 8, 8, 32, window, chunked) for window, chunked in layers), Parameters(1100, 1000)
    )


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 60))
def test_flops_are_the_sum_over_tokens(start: int, count: int, window: int) -> None:
    found = shape((None, False), (window, False), (window, True)).prefill_flops(start, start + count)
    seen = sum(p + 1 + min(p + 1, window) + p % window + 1 for p in range(start, start + count))
    assert found == 2 * 1000 * count + 4 * 4 * 8 * seen


def test_llama_8b() -> None:
    """Published: 8,030,261,248 parameters, 131,072 bytes of KV cache a token in bfloat16."""
    llama = ModelShape.from_config(tf.LlamaConfig(**LLAMA_8B))
    assert llama.kv_bytes(1, itemsize=2) == 131_072
    assert llama.kv_bytes(2**20, itemsize=2) == 131_072 * 2**20
    head = 128256 * 4096
    assert llama.parameters == Parameters(8_030_261_248, 8_030_261_248 - 2 * head, num_head=head)
    assert llama.prefill_flops(99, 100) == 2 * llama.parameters.num_dense + 4 * 32 * 32 * 128 * 100
    assert llama.expansion_flops(100) == 0


def test_tied_weights_count_once() -> None:
    """SmolLM2-135M has 134,515,008 parameters and keeps 23,040 bytes of a token."""
    config = tf.LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
    )
    smol = ModelShape.from_config(config)
    head = 49152 * 576
    assert smol.parameters == Parameters(134_515_008, 134_515_008 - head, num_head=head)
    assert smol.kv_bytes(1, 2) == 23_040


def test_sliding_layers_keep_no_more_than_their_window() -> None:
    """Gemma 3 270M."""
    config = tf.Gemma3TextConfig(
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


def test_llama_4_scout() -> None:
    """12 of 48 layers see all, the others a chunk; one of 16 experts reads a token, and a shared one."""
    scout = ModelShape.from_config(tf.Llama4TextConfig(**SCOUT))
    tokens = 10**7
    assert scout.kv_bytes(tokens, 2) == 49_152 * tokens + 36 * 8192 * 4096
    assert scout.windows == (8192, 8192, 8192, None) * 12

    mlp, attention = 3 * 5120 * 8192, 2 * 5120 * 5120 + 2 * 5120 * 1024
    norms = 2 * 5120
    head = 202048 * 5120
    dense = 48 * (mlp + attention + 16 * 5120 + norms) + 5120
    assert scout.parameters == Parameters(dense + 48 * 16 * mlp + 2 * head, dense, 48 * 16 * mlp, 48 * mlp, head)
    assert 107e9 < scout.parameters.num_all < 109e9  # published: 109e9 with the vision part, 17e9 active
    assert scout.parameters.num_read(1) + head == pytest.approx(17e9, rel=0.02)

    pairs = 12 * 8193 + 36 * 1  # the first token after a whole chunk begins another
    assert scout.prefill_flops(8192, 8193) == 2 * (dense + 48 * mlp) + 4 * 40 * 128 * pairs


def test_deepseek_v3() -> None:
    """Published: 671e9 parameters, 37e9 of them active; a layer keeps a latent of 512 + 64 numbers of a token."""
    deepseek = ModelShape.from_config(tf.DeepseekV3Config(**DEEPSEEK_V3))
    assert deepseek.kv_bytes(1, 2) == 1152 * 61
    assert deepseek.parameters.num_all == 671_026_404_352
    assert deepseek.parameters.num_routed == 58 * 256 * 3 * 7168 * 2048
    assert deepseek.parameters.num_routed_used == 58 * 8 * 3 * 7168 * 2048
    assert deepseek.parameters.num_read(1) == pytest.approx(37e9, rel=0.02)
    one, two = deepseek.prefill_flops(0, 1), deepseek.prefill_flops(1, 2)
    assert two - one == 61 * 2 * 128 * (192 + 128)  # on the expanded heads
    assert deepseek.expansion_flops(1000) == 1000 * 61 * 2 * 512 * 128 * (128 + 128)


def test_a_step_reads_no_more_experts_than_there_are() -> None:
    parameters = Parameters(num_all=1300, num_dense=200, num_routed=1000, num_routed_used=125, num_head=100)
    assert [parameters.num_read(n) for n in (1, 2, 8, 100)] == [425, 550, 1300, 1300]


@pytest.mark.parametrize("name", zoo.CONFIGS)
@torch.inference_mode()
def test_costs_are_those_of_the_model(name: str) -> None:
    """Against what transformers' own cache holds, and what torch counts in a forward of one token."""
    config = zoo.CONFIGS[name]()
    config._experts_implementation = "eager"  # which computes the chosen experts alone
    model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    found = ModelShape.from_config(config)
    assert found.parameters.num_all == sum(p.numel() for p in model.parameters())

    cache = tf.DynamicCache(config=config)
    model(input_ids=torch.full((1, 40), 3), past_key_values=cache)
    held = [states for keys, values, _ in cache for states in (keys, values) if states is not None]
    assert found.kv_bytes(40, itemsize=1) == sum(states.numel() for states in held)

    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.tensor([[3]]), use_cache=False)
    counted = found.prefill_flops(0, 1) + 2 * found.parameters.num_head
    if name == "llama 4":  # its code multiplies every token with all experts
        counted += 2 * (found.parameters.num_routed - found.parameters.num_routed_used)
    # Norms and biases are parameters too, and torch does not count their few operations.
    assert 1 < counted / counter.get_total_flops() < 1.05


def test_layers_without_attention_are_refused() -> None:
    config = tf.LlamaConfig(num_hidden_layers=2)
    config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ModelError, match="layers of linear_attention"):
        ModelShape.from_config(config)
