"""RoPE frequencies by formula, in float64: what a model's must be for its config."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True, eq=False)
class Frequencies:
    """Of one rotary embedding."""

    inverse: torch.Tensor
    """(dim / 2,) in float64, radians a token."""
    scaling: float
    """What cosines and sines are multiplied with."""


def rope_parameters(config: Any, layer_type: str | None) -> Mapping[str, Any]:
    """The config's, of one kind of layer if it has several."""
    parameters: Mapping[str, Any] = config.rope_parameters
    return parameters if layer_type is None else parameters[layer_type]


def frequencies(config: Any, layer_type: str | None, num_tokens: int) -> Frequencies | None:
    """For a prompt of `num_tokens` tokens; None for a kind of RoPE that has no formula here."""
    given = rope_parameters(config, layer_type)
    of_layer = config.per_layer_config[0 if layer_type is None else config.layer_types.index(layer_type)]
    head_dim = getattr(of_layer, "head_dim", None) or config.hidden_size // config.num_attention_heads
    dim = int(head_dim * given.get("partial_rotary_factor", 1.0))
    exponents = torch.arange(0, dim, 2, dtype=torch.float64) / dim
    plain, factor = float(given["rope_theta"]) ** -exponents, float(given.get("factor") or 1.0)
    match given.get("rope_type", "default"):
        case "default":
            return Frequencies(plain, 1.0)
        case "linear":
            return Frequencies(plain / factor, 1.0)
        case "llama3":
            return Frequencies(_llama3(plain, given, factor), 1.0)
        case "yarn":
            return _yarn(plain, given, config.max_position_embeddings)
        case "longrope":
            return _longrope(plain, given, num_tokens, config.max_position_embeddings)
        case "dynamic":
            window = config.max_position_embeddings
            stretch = factor * max(num_tokens, window) / window - (factor - 1)
            theta = float(given["rope_theta"]) * stretch ** (dim / (dim - 2))
            return Frequencies(theta**-exponents, 1.0)
    return None


def _llama3(plain: torch.Tensor, given: Mapping[str, Any], factor: float) -> torch.Tensor:
    """Long waves are stretched, short ones left, those between in proportion to their turns in the original window."""
    turns = given["original_max_position_embeddings"] * plain / (2 * math.pi)
    low, high = given["low_freq_factor"], given["high_freq_factor"]
    share: torch.Tensor = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (share + (1 - share) / factor)


def _yarn(plain: torch.Tensor, given: Mapping[str, Any], window: int) -> Frequencies:
    """As YaRN, with bounds in rounded dimensions as its authors' code takes them."""
    original = given["original_max_position_embeddings"]
    factor = float(given.get("factor") or window / original)
    dim, theta = 2 * len(plain), float(given["rope_theta"])

    def dimension(turns: float) -> float:
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(given.get("beta_fast") or 32), dimension(given.get("beta_slow") or 1)
    if given.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = ((torch.arange(len(plain), dtype=torch.float64) - low) / max(high - low, 0.001)).clamp(0, 1)
    return Frequencies(plain * (1 - ramp) + plain / factor * ramp, _yarn_scaling(given, factor))


def _yarn_scaling(given: Mapping[str, Any], factor: float) -> float:
    if given.get("attention_factor") is not None:
        return float(given["attention_factor"])

    def scale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    weight, all_dims = given.get("mscale"), given.get("mscale_all_dim")
    return scale(weight) / scale(all_dims) if weight and all_dims else scale(1.0)


def _longrope(plain: torch.Tensor, given: Mapping[str, Any], num_tokens: int, window: int) -> Frequencies:
    original = given["original_max_position_embeddings"]
    kind = "long_factor" if num_tokens > original else "short_factor"
    factor = float(given.get("factor") or window / original)
    scaling = given.get("attention_factor")
    if scaling is None:
        scaling = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return Frequencies(plain / torch.tensor(given[kind], dtype=torch.float64), float(scaling))
