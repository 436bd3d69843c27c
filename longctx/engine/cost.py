"""What reading a prompt costs: floating-point operations and bytes of KV cache, from a model's config alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from longctx.errors import ModelError

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# Names that configs have for the number of routed experts, and for how many of them a token takes.
_NUM_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_NUM_TAKEN = ("num_experts_per_tok", "top_k_experts", "moe_topk", "moe_top_k")


@dataclass(frozen=True, slots=True)
class LayerShape:
    """The sizes of one layer's attention."""

    num_heads: int
    key_dim: int
    value_dim: int
    kv_size: int
    """Numbers that are kept of a token; 0 for a layer that uses what another keeps."""
    window: int | None = None
    """Tokens that can be seen back; None for all."""
    chunked: bool = False
    """A window begins anew at each of its multiples, instead of sliding."""
    expansion_size: int = 0
    """Parameters that expand what is kept of a token, each time that it is read: latent attention has them."""

    @classmethod
    def from_config(cls, config: Any, kind: str, keeps: bool) -> LayerShape:
        """Sizes from the config of one layer; raises ModelError for a layer that is no attention."""
        if kind not in ("full_attention", "sliding_attention", "chunked_attention"):
            raise ModelError(f"Models with layers of {kind} cannot be measured yet.")
        chunked = kind == "chunked_attention"
        window = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}.get(kind)
        seen = None if window is None else int(getattr(config, window))
        heads = int(config.num_attention_heads)
        rank = getattr(config, "kv_lora_rank", None)
        if rank:
            key_dim, value_dim = config.qk_nope_head_dim + config.qk_rope_head_dim, config.v_head_dim
            expansion = rank * heads * (config.qk_nope_head_dim + value_dim)
            kept = (rank + config.qk_rope_head_dim) * keeps
            return cls(heads, key_dim, value_dim, kept, seen, chunked, expansion)
        head_dim = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
        return cls(heads, head_dim, head_dim, 2 * kv_heads * head_dim * keeps, seen, chunked)

    def num_kept(self, num_tokens: int) -> int:
        """Of a document's tokens, those that a next one can see."""
        return num_tokens if self.window is None else min(num_tokens, self.window)

    def num_seen(self, start: int, stop: int) -> int:
        """Sum over the tokens start..stop of how many tokens each sees, itself included."""
        return self._seen_up_to(stop) - self._seen_up_to(start)

    def _seen_up_to(self, position: int) -> int:
        if self.window is None or position <= self.window:
            return _triangle(position)
        if self.chunked:
            whole, rest = divmod(position, self.window)
            return whole * _triangle(self.window) + _triangle(rest)
        return _triangle(self.window) + (position - self.window) * self.window


def _triangle(n: int) -> int:
    return n * (n + 1) // 2


@dataclass(frozen=True, slots=True)
class Parameters:
    """A model's parameters by what they are used for."""

    num_all: int
    """Of the whole model, tied ones once."""
    num_dense: int
    """That every token is multiplied with: all but routed experts, embeddings and the output head."""
    num_routed: int = 0
    """Of all routed experts."""
    num_routed_used: int = 0
    """Of the routed experts that one token takes. (transformers' code of Llama 4 multiplies it with the others too.)"""
    num_head: int = 0
    """Of the output head, which only tokens that are decoded need."""

    @classmethod
    def from_config(cls, config: Any, trust_remote_code: bool = False) -> Parameters:
        """Counted on a model without memory. If the config does not say how many experts a token takes, all."""
        import torch
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
        head = model.get_output_embeddings()
        embeddings = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
        outside = {id(p) for part in [*embeddings, *([head] if head else [])] for p in part.parameters()}
        routed = sum(p.numel() for name, p in model.named_parameters() if "experts" in name.split("."))
        num_all = sum(p.numel() for p in model.parameters())
        num_matrix = sum(p.numel() for p in model.parameters() if id(p) not in outside)
        num_taken, num_experts = _first(config, _NUM_TAKEN), _first(config, _NUM_EXPERTS)
        used = routed * num_taken // num_experts if num_taken and num_experts else routed
        num_head = sum(p.numel() for p in head.parameters()) if head else 0
        return cls(num_all, num_matrix - routed, routed, used, num_head)

    def num_read(self, num_tokens: int) -> int:
        """That a step which decodes so many tokens reads: at most as many experts as these tokens take."""
        return self.num_dense + self.num_head + min(self.num_routed, num_tokens * self.num_routed_used)


def _first(config: Any, names: tuple[str, ...]) -> int | None:
    """The value of the first name that the config knows."""
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if isinstance(value, int)), None)


@dataclass(frozen=True)
class ModelShape:
    """The sizes that cost depends on."""

    layers: tuple[LayerShape, ...]
    parameters: Parameters

    @classmethod
    def from_config(cls, config: Any, trust_remote_code: bool = False) -> ModelShape:
        """Sizes from a transformers config; raises ModelError for layers that are no attention."""
        count = int(config.num_hidden_layers)
        configs = config.per_layer_config
        default = "full_attention"  # as transformers' caches take it
        if getattr(config, "sliding_window", None):
            default = "sliding_attention"
        elif getattr(config, "attention_chunk_size", None):
            default = "chunked_attention"
        kinds = getattr(config, "layer_types", None) or [default] * count
        num_keeping = count - (getattr(config, "num_kv_shared_layers", None) or 0)
        layers = (LayerShape.from_config(configs[i], kinds[i], keeps=i < num_keeping) for i in range(count))
        return cls(tuple(layers), Parameters.from_config(config, trust_remote_code))

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Tokens that each layer can see back; None for all."""
        return tuple(layer.window for layer in self.layers)

    @cached_property
    def _kinds(self) -> Counter[LayerShape]:
        """Layers that are alike, counted once."""
        return Counter(self.layers)

    def kv_bytes(self, num_tokens: int, itemsize: int) -> int:
        """Bytes of keys and values after `num_tokens` tokens."""
        return itemsize * sum(
            count * layer.kv_size * layer.num_kept(num_tokens) for layer, count in self._kinds.items()
        )

    def prefill_flops(self, start: int, stop: int) -> int:
        """Operations to read the tokens start..stop after those before them.

        2 per parameter and token, and 2 x heads x (key_dim + value_dim) per layer, token and token that it sees.
        """
        attention = sum(
            2 * count * layer.num_heads * (layer.key_dim + layer.value_dim) * layer.num_seen(start, stop)
            for layer, count in self._kinds.items()
        )
        used = self.parameters.num_dense + self.parameters.num_routed_used
        return 2 * used * (stop - start) + attention

    def expansion_flops(self, num_past: int) -> int:
        """Operations of one forward to expand what latent attention kept of the `num_past` tokens before it."""
        return sum(2 * count * layer.expansion_size * layer.num_kept(num_past) for layer, count in self._kinds.items())
