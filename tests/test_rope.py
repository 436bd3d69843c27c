"""Rotary positions: frozen where they would change with the prompt, and exact where float32 is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tf
import zoo
from streaming import flash, make_tiers, read
from transformers import AutoModelForCausalLM

from longctx.engine.kv import StreamedCache
from longctx.engine.rope import freeze_rope, use_float64_angles
from longctx.engine.selftest import stream
from longctx.errors import ModelError

SIZES: dict[str, Any] = {
    "vocab_size": zoo.VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
BY_LENGTH: dict[str, dict[str, Any]] = {
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0] * 4,
        "long_factor": [1.0, 2.0, 8.0, 32.0],
        "factor": 8.0,
        "original_max_position_embeddings": 64,
    },
    "dynamic": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64},
}
WINDOWS = {"longrope": 512, "dynamic": 64}


def make(kind: str) -> Any:
    config = tf.LlamaConfig(**SIZES, max_position_embeddings=WINDOWS[kind], rope_parameters=BY_LENGTH[kind])
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()


@pytest.mark.parametrize("kind", sorted(BY_LENGTH))
def test_frozen_frequencies_are_those_of_the_whole_prompt(kind: str) -> None:
    """One forward takes them from its last position; read in chunks they would be wrong, and are when not frozen."""
    ids = torch.randint(3, zoo.VOCABULARY, (200,), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = make(kind)(input_ids=ids[None]).logits[0, -1]
    logits = {}
    for frozen in (False, True):
        model = make(kind)
        if frozen:
            assert freeze_rope(model, len(ids)) == [kind]
        stream(model)
        logits[frozen] = read(model, ids, StreamedCache(model.config, make_tiers(flash(model))), 20)
    assert (logits[True] - wanted).abs().max() < 1e-5
    assert (logits[False] - wanted).abs().max() > 0.05


def test_other_frequencies_are_left_alone() -> None:
    model = zoo.make("gemma 3")
    assert freeze_rope(model, 1000) == []


# Rotary embeddings in halves, with layer types, in pairs, as complex numbers, and of a share of the head.
@pytest.mark.parametrize(
    "name", ["llama", "gemma 3", "glm 4", "llama 4", "deepseek v2", "stablelm", "gpt-oss", "cohere 2"]
)
def test_float64_angles_are_the_same_near_and_right_far_away(name: str) -> None:
    model, plain = zoo.make(name), zoo.make(name)
    use_float64_angles(model)
    near = torch.arange(5, 40)[None]
    with torch.inference_mode():
        ids = near % zoo.VOCABULARY
        assert (model(input_ids=ids).logits - plain(input_ids=ids).logits).abs().max() < 1e-4
    rotary = next(m for m in model.modules() if hasattr(m, "rope_type"))
    kinds = [None] if isinstance(rotary.rope_type, str) else list(rotary.rope_type)
    for kind in kinds:
        far = 9_999_991
        arguments = () if kind is None else (kind,)
        result = rotary(torch.zeros(1, dtype=torch.float64), torch.tensor([[far]]), *arguments)
        frequencies = getattr(rotary, "inv_freq" if kind is None else f"{kind}_inv_freq").double()
        scaling = getattr(rotary, "attention_scaling" if kind is None else f"{kind}_attention_scaling")
        first = result[0] if isinstance(result, tuple) else result.real
        wanted = (far * frequencies).cos() * scaling
        assert abs(float(first.flatten()[0]) - float(wanted[0])) < 1e-6
        assert torch.isclose(first.double().flatten().sort().values[-1], first.double().max())
        assert set(first.double().flatten().mul(1e5).round().tolist()) == set(wanted.mul(1e5).round().tolist())


def test_in_float32_the_far_angles_are_off() -> None:
    """Why the option is there: at 10M tokens by much more than rounding."""
    rotary = zoo.make("llama").model.rotary_emb
    far = 9_999_991
    cosines = rotary(torch.zeros(1), torch.tensor([[far]]))[0].flatten()[:4].double()
    assert (cosines - (far * rotary.inv_freq.double()).cos()).abs().max() > 0.005


def test_float64_angles_need_frequencies_that_stay() -> None:
    model = make("longrope")
    with pytest.raises(ModelError, match="longrope RoPE has none yet"):
        use_float64_angles(model)
    freeze_rope(model, 100)
    use_float64_angles(model)
