"""What layers do to queries before attention: temperature by position, norms of each head."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from longctx.check.config import temperature
from longctx.check.finding import Finding
from longctx.check.probe import LayerCall, probe
from longctx.lengths import format_length

_TOLERANCE = 0.02
_SPREAD_TOLERANCE = 0.05
_NORMS = {
    "queries": ("q_norm", "qk_norm", "query_layernorm"),
    "keys": ("k_norm", "qk_norm", "key_layernorm"),
}


@dataclass(frozen=True, slots=True)
class _Scaled:
    """How much longer a layer's queries are at a position than at the first."""

    layer: int
    position: int
    factor: float
    asked: float
    """By the config."""

    @property
    def off(self) -> float:
        return abs(self.factor / self.asked - 1)


def check_temperature(model: Any, config: Any, longest: int) -> Iterator[Finding]:
    """A finding if the config asks for it.

    On a prompt of one repeated token every position has the same states in every layer, and rotation keeps lengths,
    so the length of a query shows by how much it was scaled.
    """
    wanted = temperature(config)
    if wanted is None:
        return
    name, where = "query temperature", f"around token {wanted.step:,}"
    rows = [0, wanted.step - 2, wanted.step - 1, wanted.step, wanted.step + 1]
    if rows[-1] >= longest:
        yield Finding(name, where, "skipped", "", f"needs {rows[-1] + 1:,} tokens, over {format_length(longest)}")
        return
    found: list[_Scaled] = []

    def visit(call: LayerCall) -> None:
        lengths = call.queries[0].double().norm(dim=-1).mean(0)
        for row, factor in zip(rows, (lengths / lengths[0]).tolist(), strict=True):
            asked = wanted.factor(call.layer, row) / wanted.factor(call.layer, 0)
            found.append(_Scaled(call.layer, row, factor, asked))

    probe(model, torch.full((1, rows[-1] + 1), 5), rows, visit)
    # Less than the smallest step of the temperature, so that a missing one stands out.
    allowed = min(_TOLERANCE, wanted.gain * math.log(2) / 4)
    worst = max(one.off for one in found)
    wrong = next((one for one in found if one.off > allowed), None)
    if wrong is None:
        yield Finding(name, where, "passes", f"off by {worst:.1e}", "queries are scaled as the config says")
    else:
        does = f"layer {wrong.layer} scales queries by {wrong.factor:.3f} at {wrong.position:,}"
        meaning = f"model code: {does}, the config says {wrong.asked:.3f}"
        yield Finding(name, where, "differs", f"off by {worst:.1e}", meaning)


def _head_gain(module: Any, names: tuple[str, ...], head_dim: int) -> torch.Tensor | None:
    """Weights (head_dim,) of a norm over one head; None if there is none, or it is over all heads, or subtracts."""
    norm = next((getattr(module, name) for name in names if getattr(module, name, None) is not None), None)
    if norm is None or any(weight.numel() != head_dim for weight in norm.parameters()):
        return None
    parameter = next(module.parameters())
    ones = torch.ones(1, 1, 1, head_dim, dtype=parameter.dtype, device=parameter.device)
    gain = norm(ones).double().flatten()
    return gain if bool((gain.abs() > 1e-3).all()) else None


def _spread(states: torch.Tensor, gain: torch.Tensor) -> float:
    """How much the mean squares of heads, over their norm's weights, differ: of states (batch, heads, 1, dim)."""
    squares = (states.double() / gain).pow(2).mean(-1)
    return float((squares / squares.mean() - 1).abs().max())


def check_head_norms(model: Any) -> Iterator[Finding]:
    """A finding if queries or keys have a norm: heads are equally long at the first position."""
    worst, num_layers = (0.0, 0, ""), set()

    def visit(call: LayerCall) -> None:
        nonlocal worst
        for kind, names in _NORMS.items():
            states: torch.Tensor = getattr(call, kind)
            gain = _head_gain(call.module, names, states.shape[-1])
            if gain is not None:
                num_layers.add(call.layer)
                worst = max(worst, (_spread(states, gain), call.layer, kind))

    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(vocabulary, (8, 1), generator=torch.Generator().manual_seed(0))
    probe(model, ids, [0], visit)
    if not num_layers:
        return
    off, layer, kind = worst
    name, where, figure = "norm of each head", f"{len(num_layers)} layers", f"off by {off:.1e}"
    if off <= _SPREAD_TOLERANCE:
        yield Finding(name, where, "passes", figure, "queries and keys are normed head by head")
    else:
        meaning = f"model code: {kind} of layer {layer} are not normed head by head (across heads?)"
        yield Finding(name, where, "differs", figure, meaning)
