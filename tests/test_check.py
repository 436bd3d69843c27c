"""`check` passes sound models, and says of each planted defect what differs and whose fault it is."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
import zoo
from click.testing import CliRunner
from conftest import CHAT_TEMPLATE
from streaming import flash
from transformers import DynamicCache
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.llama4 import modeling_llama4
from transformers.models.mistral import modeling_mistral

from longctx.check.boundaries import boundaries, check_boundaries
from longctx.check.finding import Finding
from longctx.check.frequencies import frequencies
from longctx.check.run import check_code, random_text
from longctx.check.template import check_template
from longctx.check.window import check_window
from longctx.cli import main
from longctx.engine.blocks import BlockList

LONGEST = 300
ATTENTION, SIGHT = "attention as the config says", "what a layer sees"
STREAMED, CHUNKED = "streamed reading", "own reading in chunks"


def findings(model: Any, config: Any) -> list[Finding]:
    """Everything but the tokenizer's part, up to 300 tokens."""
    model = model.float()
    found = list(check_code(model, config, 1024, LONGEST, 2**40))
    texts = {"random": random_text(zoo.VOCABULARY)}
    return found + list(check_boundaries(model, config, flash(model), texts, LONGEST, 2**40))


def differing(found: list[Finding]) -> dict[str, str]:
    return {finding.name: finding.meaning for finding in found if finding.verdict == "differs"}


@pytest.mark.parametrize("name", zoo.CONFIGS)
def test_sound_models_pass(name: str) -> None:
    found = findings(zoo.make(name), zoo.CONFIGS[name]())
    assert differing(found) == {}
    names = {finding.name for finding in found if finding.verdict == "passes"}
    assert names >= {"finite logits", ATTENTION, SIGHT, CHUNKED, STREAMED}


@pytest.mark.parametrize("name", ["llama 4", "gpt-oss", "gemma 2", "qwen 3"])
def test_sound_models_pass_in_bfloat16(name: str) -> None:
    model = zoo.make(name).float()
    for weight in model.parameters():  # not the frequencies, which transformers leaves in float32
        weight.data = weight.data.bfloat16()
    assert differing(list(check_code(model, zoo.CONFIGS[name](), 1024, LONGEST, 2**40))) == {}
    found = differing(list(check_code(model.bfloat16(), zoo.CONFIGS[name](), 1024, LONGEST, 2**40)))
    assert found == {"RoPE frequencies": "model code: not the config's base and scaling"}


SCALED: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128,
    },
    "yarn": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 128},
    "longrope": {
        "rope_type": "longrope",
        "factor": 8.0,
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [1.0, 2.0, 8.0, 32.0],
        "original_max_position_embeddings": 128,
    },
    "dynamic": {"rope_type": "dynamic", "factor": 4.0, "original_max_position_embeddings": 128},
}


def scaled(kind: str, window: int = 1024) -> tuple[Any, Any]:
    """A model and its config with one kind of RoPE scaling."""
    sizes = {**zoo._SIZES, "max_position_embeddings": window}
    config = tf.LlamaConfig(**sizes, rope_parameters={"rope_theta": 1e4, **SCALED[kind]})
    torch.manual_seed(1)
    return tf.LlamaForCausalLM._from_config(config, attn_implementation="eager").eval(), config


@pytest.mark.parametrize("kind", SCALED)
def test_every_scaling_of_rope_has_its_formula(kind: str) -> None:
    """Against transformers' own: the frequencies pass as they are, for short prompts and for the whole window."""
    model, config = scaled(kind, window=128 if kind == "dynamic" else 1024)
    found = list(check_code(model, config, 1024, LONGEST, 2**40))
    assert differing(found) == {}
    by_length = kind in ("longrope", "dynamic")
    assert sum(finding.name == "RoPE frequencies" for finding in found) == 1 + by_length
    verdicts = [finding.verdict for finding in found if finding.name == "RoPE by prompt length"]
    assert verdicts == ["warns" if by_length else "passes"]


def stretched_latent() -> tuple[Any, Any]:
    parameters = {"rope_theta": 1e4, **SCALED["yarn"], "mscale": 1.0, "mscale_all_dim": 1.0}
    config = tf.DeepseekV3Config(**zoo._sizes(head_dim=None, **zoo._LATENT), rope_parameters=parameters)
    torch.manual_seed(1)
    return tf.DeepseekV3ForCausalLM._from_config(config, attn_implementation="eager").eval(), config


def test_latent_attention_is_sharper_under_yarn() -> None:
    model, config = stretched_latent()
    assert differing(findings(model, config)) == {}
    for layer in model.model.layers:
        layer.self_attn.scaling = 16**-0.5
    assert "scores are scaled by 0.25, the config says 0.3648" in differing(findings(model, config))[ATTENTION]


def test_ministrals_temperature_is_of_all_layers() -> None:
    parameters = {"rope_theta": 1e4, **SCALED["yarn"], "llama_4_scaling_beta": 0.1}
    config = tf.Ministral3Config(**zoo._SIZES, sliding_window=None, rope_parameters=parameters)
    torch.manual_seed(1)
    model = tf.Ministral3ForCausalLM._from_config(config, attn_implementation="eager").eval()
    found = findings(model, config)
    assert differing(found) == {}
    assert [finding.where for finding in found if finding.name == "query temperature"] == ["around token 128"]
    model.config.rope_parameters = {**model.config.rope_parameters, "llama_4_scaling_beta": 0.0}
    asked = differing(
        findings(model, tf.Ministral3Config(**zoo._SIZES, sliding_window=None, rope_parameters=parameters))
    )
    assert "scales queries by 1.000 at 128, the config says 1.069" in asked["query temperature"]


Patch = pytest.MonkeyPatch


def window_off_by_one(patch: Patch, model: Any) -> None:
    right = tf.masking_utils.sliding_window_causal_mask_function
    patch.setattr(tf.masking_utils, "sliding_window_causal_mask_function", lambda size: right(size + 1))


def window_ignored(patch: Patch, model: Any) -> None:
    patch.setattr(modeling_mistral, "create_sliding_window_causal_mask", tf.masking_utils.create_causal_mask)


def dense_mask_ignored(patch: Patch, model: Any) -> None:
    """The mask that is asked for is right, and what is made of it is not."""
    right = tf.masking_utils.ALL_MASK_ATTENTION_FUNCTIONS["eager"]

    def causal(*args: Any, mask_function: Any, **arguments: Any) -> Any:
        return right(*args, mask_function=tf.masking_utils.causal_mask_function, **arguments)

    patch.setitem(tf.masking_utils.ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, "eager", causal)


def chunks_ignored(patch: Patch, model: Any) -> None:
    patch.setattr(modeling_llama4, "create_chunked_causal_mask", modeling_llama4.create_causal_mask)


def softcap_not_passed(patch: Patch, model: Any) -> None:
    for layer in model.model.layers:
        layer.self_attn.attn_logit_softcapping = None


def softcap_not_applied(patch: Patch, model: Any) -> None:
    right = modeling_gemma2.eager_attention_forward

    def without(*args: Any, softcap: float | None = None, **arguments: Any) -> Any:
        return right(*args, **arguments)

    patch.setattr(modeling_gemma2, "eager_attention_forward", without)


def cap_of_logits_lost(patch: Patch, model: Any) -> None:
    model.config.final_logit_softcapping = None


def scale_wrong(patch: Patch, model: Any) -> None:
    for layer in model.model.layers:
        layer.self_attn.scaling = 8**-0.5


def temperature_off(patch: Patch, model: Any) -> None:
    for layer in model.model.layers:
        layer.self_attn.attn_temperature_tuning = False


def temperature_a_token_late(patch: Patch, model: Any) -> None:
    for layer in model.model.layers:
        layer.self_attn.floor_scale += 1


def norm_across_heads(patch: Patch, model: Any) -> None:
    def across(self: Any, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean((-2, -1), keepdim=True) + self.eps)

    patch.setattr(modeling_llama4.Llama4TextL2Norm, "forward", across)


def weighted_norm_across_heads(patch: Patch, model: Any) -> None:
    for layer in model.model.layers:
        norm = layer.self_attn.q_norm

        def across(x: torch.Tensor, weight: torch.Tensor = norm.weight) -> torch.Tensor:
            return x * torch.rsqrt(x.pow(2).mean((-2, -1), keepdim=True) + 1e-6) * weight

        patch.setattr(norm, "forward", across)


def sinks_forgotten(patch: Patch, model: Any) -> None:
    from transformers.models.gpt_oss import modeling_gpt_oss

    patch.setattr(modeling_gpt_oss, "eager_attention_forward", modeling_mistral.eager_attention_forward)


def streamed_block_lost(patch: Patch, model: Any) -> None:
    right = BlockList.views
    patch.setattr(BlockList, "views", lambda self, length: right(self, length)[:2] + right(self, length)[3:])


def positions_wrong_in_chunks(patch: Patch, model: Any) -> None:
    right = DynamicCache.get_seq_length
    patch.setattr(DynamicCache, "get_seq_length", lambda self, *a, **k: max(0, right(self, *a, **k) - 1))


DEFECTS: list[tuple[Callable[[Patch, Any], None], str, str, str]] = [
    (window_off_by_one, "mistral, window", ATTENTION, "sees 51 tokens back, the config says 50"),
    (window_off_by_one, "gemma 3", ATTENTION, "sees 51 tokens back, the config says 50"),
    (window_off_by_one, "mistral, window", SIGHT, "token 50 sees token 0, the config says not to (sliding 50)"),
    (window_ignored, "mistral, window", ATTENTION, "the config says 50"),
    (dense_mask_ignored, "mistral, window", SIGHT, "token 50 sees token 0, the config says not to (sliding 50)"),
    (chunks_ignored, "llama 4", ATTENTION, "the config says 64"),
    (chunks_ignored, "llama 4", SIGHT, "token 64 sees token 0, the config says not to (chunked 64)"),
    (softcap_not_passed, "gemma 2", ATTENTION, "softcap None, the config says 5.0"),
    (softcap_not_applied, "gemma 2", ATTENTION, "own eager attention differs"),
    (cap_of_logits_lost, "gemma 2", "cap of the logits", "not the config's cap"),
    (scale_wrong, "gemma 3", ATTENTION, "scores are scaled by 0.3536, the config says 0.0625"),
    (temperature_off, "llama 4", "query temperature", "scales queries by 1.000 at 49, the config says 1.069"),
    (temperature_a_token_late, "llama 4", "query temperature", "at 49, the config says 1.069"),
    (norm_across_heads, "llama 4", "norm of each head", "not normed head by head"),
    (weighted_norm_across_heads, "qwen 3", "norm of each head", "queries of layer"),
    (sinks_forgotten, "gpt-oss", ATTENTION, "own eager attention differs"),
    (streamed_block_lost, "llama", STREAMED, "stack: own attention and streamed attention differ"),
    (positions_wrong_in_chunks, "llama", CHUNKED, "model: own attention in chunks differs from whole"),
]


@pytest.mark.parametrize(
    ("plant", "name", "check", "meaning"), DEFECTS, ids=[f"{plant.__name__} {check}" for plant, _, check, _ in DEFECTS]
)
def test_a_planted_defect_is_found(
    plant: Callable[[Patch, Any], None], name: str, check: str, meaning: str, monkeypatch: Patch
) -> None:
    model = zoo.make(name)
    plant(monkeypatch, model)
    found = differing(findings(model, zoo.CONFIGS[name]()))
    assert meaning in found[check]
    assert ("stack" in found[check]) == (plant is streamed_block_lost)


@pytest.mark.parametrize("kind", ["linear", "llama3", "yarn"])
def test_lost_scaling_of_rope_is_found(kind: str) -> None:
    model, config = scaled(kind)
    rotary = model.model.rotary_emb
    rotary.inv_freq.copy_(frequencies(scaled_off(config), None, 1).inverse)  # type: ignore[union-attr]
    assert "not the config's base and scaling" in differing(findings(model, config))["RoPE frequencies"]


def scaled_off(config: Any) -> Any:
    plain = tf.LlamaConfig(**zoo._SIZES)
    plain.rope_parameters = {"rope_type": "default", "rope_theta": config.rope_parameters["rope_theta"]}
    return plain


def test_lost_scaling_of_cosines_is_found() -> None:
    model, config = scaled("yarn")
    model.model.rotary_emb.attention_scaling = 1.0
    assert "cosines are scaled by 1.0000" in differing(findings(model, config))["RoPE frequencies"]


def test_boundaries_are_those_of_the_config() -> None:
    _, config = scaled("yarn")
    assert list(boundaries(config)) == [128, 200, 8192, 32768, 131072]
    assert [boundaries(zoo.CONFIGS["llama 4"]())[length] for length in (50, 64)] == ["temperature step", "chunked 64"]
    model = zoo.make("llama").float()
    texts = {"random": random_text(zoo.VOCABULARY)}
    found = list(check_boundaries(model, zoo.CONFIGS["llama"](), flash(model), texts, 2**20, 2**20))
    assert {finding.verdict for finding in found} == {"skipped"}
    assert [finding.where.split()[0] for finding in found] == ["200", "1,020", "8,192", "32,768", "131,072"]
    assert "own eager attention needs 3 GiB" in found[2].meaning
    learned = check_boundaries(zoo.make("gpt-2"), zoo.CONFIGS["gpt-2"](), flash(model), texts, 2**20, 2**20)
    assert "positions that the model has learned" in list(learned)[-1].meaning


def test_what_the_models_code_raises_is_a_finding() -> None:
    model = zoo.make("llama").float()
    texts = {"random": lambda num_tokens: torch.full((num_tokens,), zoo.VOCABULARY)}
    found = next(check_boundaries(model, zoo.CONFIGS["llama"](), flash(model), texts, LONGEST, 2**40))
    assert (found.verdict, found.meaning) == ("differs", "model: own attention raises IndexError")


TEMPLATES = {
    "template writes the BOS token twice": "{{ bos_token }}" + CHAT_TEMPLATE,
    "ignores add_generation_prompt": CHAT_TEMPLATE.partition("{% if add")[0],
    "repeats the message": CHAT_TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'] }}{{ m['content'] }}"),
    "drops or alters the message": CHAT_TEMPLATE.replace("m['content']", "m['content'] | escape"),
    "writes no BOS token": CHAT_TEMPLATE.replace("{{ bos_token }}", ""),
}


@pytest.mark.parametrize("meaning", TEMPLATES)
def test_a_broken_template_is_found(meaning: str, hub_tokenizers: dict[str, Any], monkeypatch: Patch) -> None:
    tokenizer = hub_tokenizers["metaspace"]
    monkeypatch.setattr(tokenizer, "chat_template", TEMPLATES[meaning])
    found = [finding for finding in check_template(tokenizer) if finding.verdict == "differs"]
    assert [meaning in finding.meaning for finding in found] == [True]


def test_templates_that_are_sound(hub_tokenizers: dict[str, Any], monkeypatch: Patch) -> None:
    assert {finding.verdict for finding in check_template(hub_tokenizers["byte_level"])} == {"passes"}
    # This tokenizer adds a BOS token of its own, which is right for plain text.
    found = {finding.name: finding for finding in check_template(hub_tokenizers["metaspace"])}
    assert found["template: BOS"].verdict == "warns"
    monkeypatch.setattr(hub_tokenizers["byte_level"], "chat_template", None)
    assert [finding.verdict for finding in check_template(hub_tokenizers["byte_level"])] == ["skipped"]


def test_the_window_is_what_all_places_say() -> None:
    _, config = scaled("yarn")
    assert {finding.verdict for finding in check_window(config, 1024, 10**30)} == {"passes"}
    config.rope_parameters["factor"] = 4.0
    warnings = [finding.meaning for finding in check_window(config, 1024, 512) if finding.verdict == "warns"]
    assert ["another than the config's 1,024" in warnings[0], "gives 512 tokens" in warnings[1]] == [True, True]
    _, llama3 = scaled("llama3", window=8192)
    assert {finding.verdict for finding in check_window(llama3, 8192, 10**30)} == {"passes"}
    local = zoo.CONFIGS["mistral, window"]()
    (warning,) = (finding for finding in check_window(local, 1024, 10**30) if finding.verdict == "warns")
    assert "no layer sees beyond 50 tokens" in warning.meaning


def check_folder(folder: Path) -> Any:
    arguments = ["check", "--model", str(folder), "--dtype", "float32", "--device", "cpu", "--longest", "300"]
    return CliRunner().invoke(main, arguments, env={"COLUMNS": "200"})


def test_the_command_passes_a_sound_folder_and_fails_a_broken_one(model_folder: Path, tmp_path: Path) -> None:
    result = check_folder(model_folder)
    assert result.exit_code == 0, result.output
    assert "204 tokens" not in result.output
    assert "200 tokens (short prompt), text" in result.output
    broken = shutil.copytree(model_folder, tmp_path / "broken")
    (broken / "chat_template.jinja").write_text(TEMPLATES["ignores add_generation_prompt"], encoding="utf-8")
    result = check_folder(broken)
    assert result.exit_code == 1
    assert "1 differs" in result.output
    assert check_folder(tmp_path / "nowhere").exit_code == 2


def test_a_finding_stays_as_it_is() -> None:
    finding = Finding("name", "where", "passes", "", "")
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding.verdict = "differs"  # type: ignore[misc]
