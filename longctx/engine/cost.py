"""What a prefill costs: floating-point operations and bytes of KV cache, from a model's config alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that cost depends on."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    num_matrix_parameters: int
    """Parameters that every token is multiplied with: all but the embeddings and the output head."""
    windows: tuple[int | None, ...]
    """Tokens that each layer can see back; None for all."""

    @classmethod
    def from_config(cls, config: Any, trust_remote_code: bool = False) -> ModelShape:
        """Sizes from a transformers config. The parameters are counted on a model without memory."""
        heads = int(config.num_attention_heads)
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        layers = int(config.num_hidden_layers)
        window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
        default = "sliding_attention" if window else "full_attention"  # as transformers' caches take it
        types = getattr(config, "layer_types", None) or [default] * layers
        windows = tuple(window if "sliding" in kind or "chunked" in kind else None for kind in types)
        kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
        return cls(heads, kv_heads, int(head_dim), _count_matrix_parameters(config, trust_remote_code), windows)

    def kv_bytes(self, num_tokens: int, itemsize: int) -> int:
        """Bytes of keys and values after `num_tokens` tokens."""
        kept = sum(num_tokens if window is None else min(num_tokens, window) for window in self.windows)
        return 2 * kept * self.num_kv_heads * self.head_dim * itemsize

    def prefill_flops(self, start: int, stop: int) -> int:
        """Operations to read the tokens start..stop after those before them.

        2 per parameter and token, and 4 x heads x head_dim per layer, token and token that it sees.
        """
        seen = sum(_visible(start, stop, window) for window in self.windows)
        attention = 4 * self.num_heads * self.head_dim * seen
        return 2 * self.num_matrix_parameters * (stop - start) + attention


def _visible(start: int, stop: int, window: int | None) -> int:
    """Sum over the tokens start..stop of how many tokens each sees, itself included."""

    def up_to(position: int) -> int:
        full = position * (position + 1) // 2
        if window is None or position <= window:
            return full
        return window * (window + 1) // 2 + (position - window) * window

    return up_to(stop) - up_to(start)


def _count_matrix_parameters(config: Any, trust_remote_code: bool) -> int:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    outside = {
        id(p)
        for part in (model.get_input_embeddings(), model.get_output_embeddings())
        if part is not None
        for p in part.parameters()
    }
    return sum(p.numel() for p in model.parameters() if id(p) not in outside)
