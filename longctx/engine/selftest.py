"""Whether streamed attention computes what the model's own does: a short test of every model before it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from longctx.engine.attention import NAME
from longctx.engine.kernels import HeadShape, Kernel
from longctx.engine.kv import StreamedCache
from longctx.engine.tiers import Holders, Tiers
from longctx.errors import ModelError

_NUM_TOKENS = 200
_CHUNK = 48
_BLOCK = 32
# In standard deviations of the logits. Real faults (lost blocks, wrong frequencies, dropped softcaps) are of order 1.
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-2}
_HALF_TOLERANCE = 0.25


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Largest differences between logits, in standard deviations of the logits."""

    num_tokens: int
    chunked: float
    """A prompt read in chunks through blocks, against one forward with the model's own attention."""


def tolerance(dtype: torch.dtype) -> float:
    """The largest difference between logits that is rounding in this dtype, in standard deviations of the logits."""
    return _TOLERANCE.get(dtype, _HALF_TOLERANCE)


def head_shapes(config: Any) -> tuple[HeadShape, ...]:
    """What the attention of a model's layers looks like to a kernel, each kind once."""
    config = config.get_text_config(decoder=True)
    return tuple(dict.fromkeys(_head_shape(config.per_layer_config[i]) for i in range(config.num_hidden_layers)))


def _head_shape(config: Any) -> HeadShape:
    """Of one layer; of latent attention after its expansion."""
    heads = int(config.num_attention_heads)
    if getattr(config, "kv_lora_rank", None):
        return HeadShape(heads, heads, config.qk_nope_head_dim + config.qk_rope_head_dim, config.v_head_dim)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return HeadShape(heads, int(getattr(config, "num_key_value_heads", None) or heads), head_dim, head_dim)


def stream(model: Any) -> None:
    """Switch a loaded model to streamed attention; raises ModelError for one that has no interface for it."""
    # Old modelling code has its own attention, and would go on with it without a word.
    can_set = getattr(type(model), "_can_set_attn_implementation", lambda: True)
    if not can_set():
        raise ModelError(f"{type(model).__name__} has its own attention code, which cannot be streamed.")
    model.set_attn_implementation(NAME)


@torch.inference_mode()
def read_in_chunks(
    model: Any, ids: torch.Tensor, cache: Any, chunk: int, keep: int, commit: Callable[[int], object]
) -> torch.Tensor:
    """Logits (keep, vocabulary) of the last positions of `ids` (n,), read `chunk` at a time into `cache`.

    `commit` is told of the tokens of each chunk when it is read.
    """
    rows: list[torch.Tensor] = []
    for step in torch.split(ids, chunk):
        new = min(len(step), keep)
        output = model(input_ids=step[None], past_key_values=cache, use_cache=True, logits_to_keep=new)
        commit(len(step))
        rows = [*rows, output.logits[0, -new:].float()][-keep:]
    return torch.cat(rows)[-keep:]


@torch.inference_mode()
def self_test(model: Any, kernel: Kernel, holders: Holders | None = None) -> SelfTest:
    """Compare both on random tokens; raises ModelError if they differ by more than rounding does.

    `holders` say where the layers are, if not all on the model's device. The model is left with its own attention.
    """
    own = model.config._attn_implementation
    config = model.config.get_text_config(decoder=True)
    holders = holders or Holders((model.device,) * config.num_hidden_layers)
    num_tokens = min(_NUM_TOKENS, getattr(config, "max_position_embeddings", _NUM_TOKENS))
    vocabulary = model.get_input_embeddings().weight.shape[0]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (num_tokens,), generator=generator)
    bos = getattr(config, "bos_token_id", None)
    if isinstance(bos, int) and bos < vocabulary:  # as prompts begin: some models rest their attention there
        ids[0] = bos
    ids = ids.to(model.device)
    wanted = model(input_ids=ids[None], logits_to_keep=1).logits[0, -1:].float()
    tiers = Tiers.over(holders, dict.fromkeys(holders.devices, 2**40), 0, _BLOCK, kernel)
    stream(model)
    try:
        cache = StreamedCache(model.config, tiers)
        found = read_in_chunks(model, ids, cache, _CHUNK, 1, cache.commit)
    finally:
        model.set_attn_implementation(own)
    difference = float((found - wanted).abs().max() / wanted.std())
    allowed = tolerance(model.dtype)
    if not difference <= allowed:
        raise ModelError(
            f"{type(model).__name__} cannot be read in chunks: its logits are off by {difference:.2g} standard "
            f"deviations ({allowed} are allowed in {model.dtype})."
        )
    return SelfTest(num_tokens, round(difference, 9))
