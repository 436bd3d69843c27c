"""Each layer's attention against one that is made anew from what the config says."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch

from longctx.check.config import Reach, layer_reaches, score_scale
from longctx.check.finding import Finding
from longctx.check.probe import LayerCall, probe
from longctx.lengths import format_length

_NAME = "attention as the config says"
# Of the standard deviation of the outputs. Real faults are of order 0.1 and more.
_TOLERANCE = 1e-3
_SHORT = 64


def reference(call: LayerCall, reach: Reach, scale: float, softcap: float | None) -> torch.Tensor:
    """Attention (batch, rows, heads, value_dim) in float64, with sinks where the layer has them."""
    repeats = call.queries.shape[1] // call.keys.shape[1]
    keys, values = (states.double().repeat_interleave(repeats, 1) for states in (call.keys, call.values))
    scores = call.queries.double() @ keys.transpose(2, 3) * scale
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    tokens = torch.arange(keys.shape[2], device=keys.device)
    scores = scores.masked_fill(~reach.visible(call.positions, tokens), -math.inf)
    sinks = getattr(call.module, "sinks", None)
    if sinks is not None:
        column = sinks.double().view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, column], -1)
    weights = scores.softmax(-1)[..., : keys.shape[2]]
    return (weights @ values).transpose(1, 2)


def _window(seen: torch.Tensor, positions: torch.Tensor) -> int:
    """The most tokens that a query sees back, itself included."""
    first = seen.int().argmax(1)
    return int((positions - first).max()) + 1


def _fault(call: LayerCall, reach: Reach, scale: float, softcap: float | None) -> str:
    """What of a call is not as the config says, in words; empty if all is."""
    tokens = torch.arange(call.keys.shape[2], device=call.seen.device)
    wanted = reach.visible(call.positions, tokens)
    if not torch.equal(call.seen, wanted):
        sees, may = (_window(seen, call.positions) for seen in (call.seen, wanted))
        if sees == may:
            return f"model code: the mask is not that of {reach} attention"
        return f"model code: sees {sees:,} tokens back, the config says {may:,} here ({reach})"
    if call.arguments.get("softcap") != softcap:
        return f"model code: softcap {call.arguments.get('softcap')}, the config says {softcap}"
    if not math.isclose(_scaling(call), scale, rel_tol=1e-6):
        return f"model code: scores are scaled by {_scaling(call):.4g}, the config says {scale:.4g}"
    return ""


def _scaling(call: LayerCall) -> float:
    """As the layer passes it; without a word attention divides by the root of the head size."""
    passed = call.arguments.get("scaling")
    return call.queries.shape[-1] ** -0.5 if passed is None else float(passed)


def _measure(call: LayerCall, config: Any, reach: Reach) -> tuple[float, str]:
    """How far the model's own output is from the reference in standard deviations, and the fault that is known."""
    scale = score_scale(config)
    if scale is None:
        scale = _scaling(call)
    softcap = getattr(config, "attn_logit_softcapping", None)
    fault = _fault(call, reach, scale, softcap)
    if call.own is None:
        return math.inf if fault else 0.0, fault
    wanted = reference(call, reach, scale, softcap)
    difference = float((call.own.double() - wanted).abs().max() / wanted.std())
    return difference, fault


def _rows(reach: Reach) -> list[int]:
    """Queries around the place where the layer stops to see all, the last of which is the last token."""
    if reach.kind == "full":
        return list(range(0, _SHORT, 7))
    around = range(max(0, reach.size - 2), reach.size + 4)
    return [*range(0, max(0, reach.size - 2), max(1, reach.size // 4)), *around]


def check_attention(model: Any, config: Any, longest: int) -> Iterator[Finding]:
    """A finding for every kind of layer, on random tokens up to just past its window or chunk."""
    reaches = layer_reaches(config)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    generator = torch.Generator().manual_seed(0)
    for reach in dict.fromkeys(reaches):
        rows = _rows(reach)
        where = f"{reaches.count(reach)} layers, {reach}"
        if rows[-1] >= longest:
            yield Finding(_NAME, where, "skipped", "", f"needs {rows[-1] + 1:,} tokens, over {format_length(longest)}")
            continue
        found: dict[int, tuple[float, str]] = defaultdict(lambda: (0.0, ""))

        def visit(call: LayerCall, reach: Reach = reach, found: dict[int, tuple[float, str]] = found) -> None:
            if reaches[call.layer] == reach:
                found[call.layer] = _measure(call, config, reach)

        probe(model, torch.randint(vocabulary, (1, rows[-1] + 1), generator=generator), rows, visit)
        yield _finding(where, found)


def _finding(where: str, found: dict[int, tuple[float, str]]) -> Finding:
    if not found:
        return Finding(
            _NAME, where, "skipped", "", "these layers do not call attention through transformers' interface"
        )
    worst = max(found, key=lambda layer: (bool(found[layer][1]), found[layer][0]))
    difference, fault = found[worst]
    figure = f"{difference:.1e} std"
    if not fault and difference <= _TOLERANCE:
        return Finding(_NAME, where, "passes", figure, "mask, scale, softcap and sinks are the config's")
    fault = fault or "model code: own eager attention differs from plain attention with the config's mask and scale"
    return Finding(_NAME, f"{where} (layer {worst})", "differs", figure, fault)
