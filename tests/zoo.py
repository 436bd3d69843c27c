"""Tiny random models of many architectures, in float64 wherever the model itself is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as tf
from transformers import AutoModelForCausalLM

VOCABULARY = 101
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LOCAL = ["sliding_attention"] * 3 + ["full_attention"]
_EXPERTS: dict[str, Any] = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
_LATENT: dict[str, Any] = {
    "num_key_value_heads": 4,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
}


def _sizes(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**_SIZES, **changes}.items() if value is not None}


def _gpt2() -> Any:
    return tf.GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=4, n_head=4, n_positions=1024, initializer_range=0.3, eos_token_id=2
    )


def _opt() -> Any:
    return tf.OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        word_embed_proj_dim=32,
        max_position_embeddings=1024,
        init_std=0.3,
    )


def _llama4() -> Any:
    return tf.Llama4TextConfig(
        **_sizes(),
        attention_chunk_size=64,
        intermediate_size_mlp=48,
        num_local_experts=4,
        num_experts_per_tok=1,
        interleave_moe_layer_step=2,
        no_rope_layers=[1, 1, 1, 0],
        attn_temperature_tuning=True,
        floor_scale=50,
        attn_scale=0.1,
    )


_GEMMA_3N: dict[str, Any] = {
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 1,
    "laurel_rank": 4,
    "activation_sparsity_pattern": [0.0] * 5,
    "num_hidden_layers": 5,
    "intermediate_size": [48] * 5,
    "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention", "full_attention"],
    "sliding_window": 50,
    "altup_num_inputs": 2,
}

_GEMMA_4: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "global_head_dim": 32,
    "sliding_window": 50,
    "initializer_range": 0.3,
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
}
_GEMMA_4_EXPERTS = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32}

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: tf.LlamaConfig(**_sizes()),
    "llama 4": _llama4,
    "mistral": lambda: tf.MistralConfig(**_sizes(), sliding_window=None),
    "mistral, window": lambda: tf.MistralConfig(**_sizes(), sliding_window=50),
    "mixtral": lambda: tf.MixtralConfig(**_sizes(), **_EXPERTS, sliding_window=None),
    "qwen 2": lambda: tf.Qwen2Config(**_sizes(head_dim=None)),
    "qwen 2, half windows": lambda: tf.Qwen2Config(
        **_sizes(head_dim=None), use_sliding_window=True, sliding_window=50, max_window_layers=2
    ),
    "qwen 3": lambda: tf.Qwen3Config(**_sizes()),
    "qwen 3 moe": lambda: tf.Qwen3MoeConfig(**_sizes(), **_EXPERTS, moe_intermediate_size=16),
    "gemma 2": lambda: tf.Gemma2Config(**_sizes(), sliding_window=50, attn_logit_softcapping=5.0),
    "gemma 3": lambda: tf.Gemma3TextConfig(**_sizes(), sliding_window=50, layer_types=_LOCAL),
    "gemma 3n": lambda: tf.Gemma3nTextConfig(**_sizes(**_GEMMA_3N)),
    "gemma 4, wide global layers": lambda: tf.Gemma4TextConfig(
        **_GEMMA_4, num_global_key_value_heads=1, attention_k_eq_v=True
    ),
    "gemma 4, shared keys and experts": lambda: tf.Gemma4TextConfig(
        **_GEMMA_4,
        **_GEMMA_4_EXPERTS,
        num_kv_shared_layers=2,
        layer_types=["sliding_attention", "full_attention"] * 3,
    ),
    "deepseek v2": lambda: tf.DeepseekV2Config(**_sizes(head_dim=None, **_LATENT)),
    "deepseek v3": lambda: tf.DeepseekV3Config(**_sizes(head_dim=None, **_LATENT)),
    "phi 3": lambda: tf.Phi3Config(**_sizes(head_dim=None)),
    "phi 3, window": lambda: tf.Phi3Config(**_sizes(head_dim=None), sliding_window=50),
    "nemotron": lambda: tf.NemotronConfig(**_sizes()),
    "gpt-oss": lambda: tf.GptOssConfig(
        **_sizes(),
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=50,
        layer_types=["sliding_attention", "full_attention"] * 2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ),
    "cohere 2": lambda: tf.Cohere2Config(**_sizes(), sliding_window=50),
    "smollm 3": lambda: tf.SmolLM3Config(**_sizes(head_dim=None)),
    "olmo 3": lambda: tf.Olmo3Config(**_sizes(head_dim=None), sliding_window=50),
    "granite": lambda: tf.GraniteConfig(**_sizes(head_dim=None), attention_multiplier=0.3),
    "starcoder 2": lambda: tf.Starcoder2Config(**_sizes(head_dim=None), sliding_window=None),
    "stablelm": lambda: tf.StableLmConfig(**_sizes(head_dim=None)),
    "glm 4": lambda: tf.Glm4Config(**_sizes()),
    "gpt-neox": lambda: tf.GPTNeoXConfig(**_sizes(head_dim=None, num_key_value_heads=None)),
    "gpt-2": _gpt2,
    "opt": _opt,
    "minimax m2": lambda: tf.MiniMaxM2Config(**_sizes(), num_local_experts=4, num_experts_per_tok=2),
}


def make(name: str, **changes: Any) -> Any:
    """The model in float64, its weights the same every time; `changes` are to its config."""
    config = CONFIGS[name]()
    for key, value in changes.items():
        setattr(config, key, value)
    config._experts_implementation = "eager"  # the grouped product has no float64
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return model.double().eval()
