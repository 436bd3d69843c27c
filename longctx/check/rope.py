"""Rotary positions: the module's frequencies against the config's, and how exact far angles are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from longctx.check.finding import Finding
from longctx.check.frequencies import frequencies
from longctx.engine.rope import call_rotary, rotary_modules, wide_rotary
from longctx.errors import ModelError

_FAR = (2**20, 10 * 2**20)
# Tokens whose angles are compared: at a power of two alone float32 would be exact.
_SPAN = 64
_FREQUENCY_TOLERANCE = 1e-4
_ANGLE_WARNING = 0.01


def check_rope(model: Any, config: Any, window: int) -> Iterator[Finding]:
    """Findings for every rotary embedding; a model without has none."""
    seen = set()
    for module, layer_type, kind in rotary_modules(model):
        if (layer_type, kind) in seen or not getattr(config, "rope_parameters", None):
            continue
        seen.add((layer_type, kind))
        where = kind if layer_type is None else f"{kind}, {layer_type}"
        short = _module_frequencies(module, layer_type, 1)
        yield _against_config(config, layer_type, where, short, 1)
        long = _module_frequencies(module, layer_type, window)
        if torch.equal(short[0], long[0]):
            yield Finding("RoPE by prompt length", where, "passes", "", "the same frequencies for every prompt")
        else:
            yield _against_config(config, layer_type, f"{where}, whole window", long, window)
            meaning = "frequencies change with the prompt's length; longctx fixes them to the longest prompt's"
            yield Finding("RoPE by prompt length", where, "warns", "", meaning)
        yield from _far(module, layer_type, where, window)


def _module_frequencies(module: Any, layer_type: str | None, num_tokens: int) -> tuple[torch.Tensor, float]:
    """What the module uses for a prompt of so many tokens."""
    prefix = "" if layer_type is None else f"{layer_type}_"
    device = getattr(module, f"{prefix}inv_freq").device
    call_rotary(module, torch.tensor([[num_tokens - 1]], device=device), layer_type)
    return getattr(module, f"{prefix}inv_freq").clone(), float(getattr(module, f"{prefix}attention_scaling", 1.0))


def _against_config(
    config: Any, layer_type: str | None, where: str, found: tuple[torch.Tensor, float], num_tokens: int
) -> Finding:
    name = "RoPE frequencies"
    wanted = frequencies(config, layer_type, num_tokens)
    if wanted is None:
        return Finding(name, where, "skipped", "", "no formula of our own for this kind")
    inverse, scaling = found
    if len(inverse) != len(wanted.inverse):
        sizes = f"{len(inverse)} frequencies, not {len(wanted.inverse)}"
        return Finding(name, where, "differs", sizes, "model code: another share of the head is rotated")
    off = float((inverse.double().cpu() / wanted.inverse - 1).abs().max())
    figure = f"off by {off:.1e}"
    if off > _FREQUENCY_TOLERANCE:
        return Finding(name, where, "differs", figure, "model code: not the config's base and scaling")
    if abs(scaling / wanted.scaling - 1) > _FREQUENCY_TOLERANCE:
        meaning = f"model code: cosines are scaled by {scaling:.4f}, the config says {wanted.scaling:.4f}"
        return Finding(name, where, "differs", figure, meaning)
    return Finding(name, where, "passes", figure, "base and scaling are the config's")


def _far(module: Any, layer_type: str | None, where: str, window: int) -> Iterator[Finding]:
    name = "RoPE far away"
    try:
        exact = wide_rotary(module, layer_type)
    except ModelError as error:
        yield Finding(name, where, "skipped", "", str(error))
        return
    device = next(module.buffers()).device
    for end in sorted({window, *_FAR}):
        positions = torch.arange(max(0, end - _SPAN), end, device=device)[None]
        wide = exact(torch.zeros(1, dtype=torch.float64, device=device), positions)
        narrow = call_rotary(module, positions, layer_type)
        pairs = zip(wide, narrow, strict=True) if isinstance(wide, tuple) else [(wide, narrow)]
        off = max(float((a - b.to(a.dtype)).abs().max()) for a, b in pairs)
        at, figure = f"{where}, position {end - 1:,}", f"cosine off by {off:.1e}"
        if off > _ANGLE_WARNING:
            yield Finding(name, at, "warns", figure, "float32 angles are too coarse here: sweep with --rope float64")
        else:
            yield Finding(name, at, "passes", figure, "float32 angles are good enough here")
