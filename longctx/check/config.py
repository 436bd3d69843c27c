"""What a config says of each layer's attention, read without transformers' own code."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch


@dataclass(frozen=True, slots=True)
class Reach:
    """Which tokens a layer sees."""

    kind: Literal["full", "sliding", "chunked"]
    size: int = 0
    """Tokens of the window, the query's own included, or of a chunk."""

    def __str__(self) -> str:
        return self.kind if self.kind == "full" else f"{self.kind} {self.size:,}"

    def visible(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Whether positions (queries,) see positions (keys,): (queries, keys)."""
        query, key = queries[:, None], keys[None]
        seen = key <= query
        if self.kind == "sliding":
            seen &= query - key < self.size
        elif self.kind == "chunked":
            seen &= query // self.size == key // self.size
        return seen


def layer_reaches(config: Any) -> list[Reach]:
    """For each layer; a config with a window and no layer types means all of them."""
    window, chunk = getattr(config, "sliding_window", None), getattr(config, "attention_chunk_size", None)
    default = "sliding" if window else "chunked" if chunk else "full"
    kinds = getattr(config, "layer_types", None) or [default] * int(config.num_hidden_layers)
    return [_reach(kind, window, chunk) for kind in kinds]


def _reach(kind: str, window: int | None, chunk: int | None) -> Reach:
    if "sliding" in kind and window:
        return Reach("sliding", window)
    return Reach("chunked", chunk) if "chunked" in kind and chunk else Reach("full")


def original_windows(config: Any) -> list[int]:
    """Every original_max_position_embeddings that the config names, in tokens."""
    places = [getattr(config, "rope_parameters", None) or {}]
    places += [value for value in places[0].values() if isinstance(value, dict)]
    found = [place.get("original_max_position_embeddings") for place in places]
    found.append(getattr(config, "original_max_position_embeddings", None))
    return sorted({int(value) for value in found if value})


@dataclass(frozen=True, slots=True)
class Temperature:
    """Queries grow with the position's step: 1 + gain * log(1 + floor((position + shift) / step))."""

    step: int
    gain: float
    shift: int
    layers: frozenset[int]

    def factor(self, layer: int, position: int) -> float:
        if layer not in self.layers:
            return 1.0
        steps = torch.tensor((position + self.shift) // self.step, dtype=torch.float64)
        return 1.0 + self.gain * float(torch.log1p(steps))


def temperature(config: Any) -> Temperature | None:
    """The temperature tuning that the config asks for: Llama 4's without RoPE, or Ministral's of all layers."""
    layers = range(int(config.num_hidden_layers))
    if getattr(config, "attn_temperature_tuning", False):
        without_rope = frozenset(layer for layer in layers if not config.no_rope_layers[layer])
        return Temperature(int(config.floor_scale), float(config.attn_scale), 1, without_rope)
    parameters = getattr(config, "rope_parameters", None) or {}
    beta = parameters.get("llama_4_scaling_beta")
    if beta:
        return Temperature(int(parameters["original_max_position_embeddings"]), float(beta), 0, frozenset(layers))
    return None


def score_scale(config: Any) -> float | None:
    """What the config says that products of queries and keys are multiplied with; None where it does not."""
    scalar = getattr(config, "query_pre_attn_scalar", None)
    if scalar:
        return 1 / math.sqrt(scalar)
    multiplier = getattr(config, "attention_multiplier", None)
    if multiplier is not None:
        return float(multiplier)
    return _latent_scale(config) if getattr(config, "kv_lora_rank", None) else None


def _latent_scale(config: Any) -> float:
    """Of multi-head latent attention, which YaRN sharpens as it stretches."""
    parameters = config.rope_parameters
    weight = parameters.get("mscale_all_dim") or 0.0
    stretched = parameters.get("rope_type", "default") != "default" and weight
    sharper = 0.1 * weight * math.log(parameters["factor"]) + 1.0 if stretched else 1.0
    return sharper**2 / math.sqrt(config.qk_nope_head_dim + config.qk_rope_head_dim)


def eager_bytes(config: Any, num_tokens: int) -> int:
    """Most memory of eager attention over a whole prompt, beside the weights: scores, softmax, and a copy of that."""
    return 3 * 4 * int(config.num_attention_heads) * num_tokens**2
