"""The two-call attention against plain attention in float64, and its place in whole models."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from conftest import tiny_llama
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    Gemma2Config,
    Gemma3TextConfig,
    GptOssConfig,
    MistralConfig,
)

from longctx.engine.attention import attention_to_load, causal_attention, use_ours
from longctx.errors import ModelError


def reference(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """Softmax attention written out, with a mask, in float64."""
    groups = query.shape[1] // key.shape[1]
    key, value = (x.double().repeat_interleave(groups, 1) for x in (key, value))
    scores = query.double() @ key.transpose(2, 3) * scale
    queries, keys = scores.shape[-2:]
    hidden = torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1)
    return scores.masked_fill(hidden, -math.inf).softmax(-1) @ value


@given(
    st.integers(1, 3),
    st.sampled_from([(1, 1), (4, 2), (6, 2)]),
    st.integers(1, 40),
    st.integers(0, 90),
    st.integers(0, 9),
)
def test_any_split_of_past_and_new_is_exact(batch: int, heads: tuple[int, int], new: int, past: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(batch, heads[0], new, 16, generator=generator, dtype=torch.float64)
    key, value = (torch.randn(batch, heads[1], past + new, 16, generator=generator, dtype=torch.float64) for _ in "kv")
    found = causal_attention(query, key, value, 0.3)
    torch.testing.assert_close(found, reference(query, key, value, 0.3), rtol=0, atol=1e-12)


def test_the_scale_is_one_over_the_root_of_the_head_size_by_default() -> None:
    query, key, value = (torch.randn(1, 2, 8, 16) for _ in range(3))
    torch.testing.assert_close(causal_attention(query, key, value), causal_attention(query, key, value, 0.25))


def test_bfloat16_loses_no_more_than_one_rounding() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, n, 32) for n in (16, 400, 400))
    query, key, value = (x.bfloat16() for x in (query, key, value))
    error = causal_attention(query, key, value, 0.2).double() - reference(query, key, value, 0.2)
    assert error.abs().max() < 2**-7 * reference(query, key, value, 0.2).abs().max()


def logits(model: Any, ids: torch.Tensor, chunk: int, **arguments: Any) -> torch.Tensor:
    """Logits of the last token, read in chunks."""
    from longctx.engine import kv

    cache = kv.new_cache(model.config)
    with torch.inference_mode():
        for start in range(0, ids.shape[1], chunk):
            step = ids[:, start : start + chunk]
            output = model(input_ids=step, past_key_values=cache, use_cache=True, **arguments)
    result: torch.Tensor = output.logits[:, -1]
    return result


def models() -> dict[str, Any]:
    sizes: dict[str, Any] = {
        "vocab_size": 100,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "initializer_range": 0.2,
        "max_position_embeddings": 512,
    }
    configs: dict[str, Any] = {
        "mistral, sliding": MistralConfig(**sizes, sliding_window=24),
        "gemma 3, sliding and full": Gemma3TextConfig(
            **sizes,
            sliding_window=24,
            layer_types=["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
        ),
    }
    del sizes["head_dim"]
    configs["deepseek v3, latent"] = DeepseekV3Config(
        **sizes | {"num_key_value_heads": 4},
        moe_intermediate_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=4,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=12,
    )
    torch.manual_seed(1)
    made = {name: AutoModelForCausalLM.from_config(config).eval() for name, config in configs.items()}
    return {**made, "llama": tiny_llama(100)}


@pytest.mark.parametrize("name", ["llama", "mistral, sliding", "gemma 3, sliding and full", "deepseek v3, latent"])
@pytest.mark.parametrize("chunk", [7, 64])
def test_models_answer_as_with_their_own_attention(name: str, chunk: int) -> None:
    model = models()[name].double()
    ids = torch.randint(2, 100, (2, 150), generator=torch.Generator().manual_seed(3))
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        wanted = model(input_ids=ids).logits[:, -1]
    model.set_attn_implementation("longctx")
    # Norms and softmax round to float32 inside the models, whatever the attention.
    torch.testing.assert_close(logits(model, ids, chunk), wanted, rtol=0, atol=2e-5)


def test_padding_is_masked() -> None:
    model = models()["llama"]
    ids = torch.randint(2, 100, (1, 40), generator=torch.Generator().manual_seed(3))
    padded = torch.cat([torch.zeros(1, 9, dtype=torch.long), ids], 1)
    mask = (torch.arange(49) >= 9).long()[None]
    model.set_attn_implementation("longctx")
    with torch.inference_mode():
        wanted = model(input_ids=ids).logits[:, -1]
        found = model(input_ids=padded, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)).logits[
            :, -1
        ]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_values_may_be_narrower_than_keys() -> None:
    torch.manual_seed(0)
    query, key = (torch.randn(1, 4, n, 24, dtype=torch.float64) for n in (5, 40))
    value = torch.randn(1, 4, 40, 16, dtype=torch.float64)
    found = causal_attention(query, key, value, 0.3)
    torch.testing.assert_close(found, reference(query, key, value, 0.3), rtol=0, atol=1e-12)


def test_a_softcap_is_never_dropped() -> None:
    config = Gemma2Config(num_hidden_layers=1)
    assert attention_to_load("auto", config) == "eager"
    with pytest.raises(ModelError, match="softcap"):
        attention_to_load("sdpa", config)
    assert attention_to_load("flash_attention_2", config) == "flash_attention_2"


def test_ours_takes_the_place_of_sdpa_and_of_nothing_else() -> None:
    assert attention_to_load("auto", MistralConfig()) is None
    model = models()["llama"]
    use_ours(model, "auto")
    assert model.config._attn_implementation == "longctx"
    config = GptOssConfig(
        num_hidden_layers=1, hidden_size=32, num_attention_heads=4, vocab_size=50, num_local_experts=2
    )
    with_sinks = AutoModelForCausalLM.from_config(config)
    use_ours(with_sinks, "auto")
    assert with_sinks.config._attn_implementation != "longctx"
    with pytest.raises(ModelError, match="needs a CPU and a model that runs with sdpa"):
        use_ours(with_sinks, "longctx")
