"""Rotary positions where transformers' own go wrong on a long prompt that is read in chunks.

`longrope` and `dynamic` choose their frequencies from the largest position of a forward, so early chunks get others
than late ones, in transformers' own chunked prefill too. `freeze_rope` fixes them for a longest prompt.

transformers multiplies position and frequency in float32. The angle is off by up to 0.004 rad at 128k, 0.03 at 1M
and 0.5 at 10M tokens (theta 5e5). `use_float64_angles` computes angles in float64; it is not what the model's
other users run, so it is an option.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from longctx.errors import ModelError

_BY_LENGTH = ("longrope", "dynamic")


def rotary_modules(model: torch.nn.Module) -> Iterator[tuple[Any, str | None, str]]:
    """(module, layer type or None, RoPE type) of every rotary embedding."""
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        if isinstance(kinds, str):
            yield module, None, kinds
        elif isinstance(kinds, dict):
            for layer_type, kind in kinds.items():
                yield module, layer_type, kind


def call_rotary(module: Any, positions: torch.Tensor, layer_type: str | None) -> Any:
    x = torch.zeros(1, device=positions.device)
    return module(x, positions) if layer_type is None else module(x, positions, layer_type)


def freeze_rope(model: torch.nn.Module, num_tokens: int) -> list[str]:
    """Fix the frequencies to those of a prompt of `num_tokens` tokens; returns the kinds of RoPE that this changed.

    So a server does it that is started for a window of this length. Shorter prompts are read with the same ones.
    """
    changed = []
    for module, layer_type, kind in list(rotary_modules(model)):
        if not any(name in kind for name in _BY_LENGTH):
            continue
        device = next(model.parameters()).device
        call_rotary(module, torch.tensor([[num_tokens - 1]], device=device), layer_type)
        if layer_type is None:
            module.rope_type = "default"
        else:
            module.rope_type = {**module.rope_type, layer_type: "default"}
        changed.append(kind)
    return changed


def _halves(angles: torch.Tensor) -> Any:
    doubled = torch.cat((angles, angles), -1)
    return doubled.cos(), doubled.sin()


def _pairs(angles: torch.Tensor) -> Any:
    doubled = angles.repeat_interleave(2, -1)
    return doubled.cos(), doubled.sin()


def _plain(angles: torch.Tensor) -> Any:
    return angles.cos(), angles.sin()


def _complex(angles: torch.Tensor) -> Any:
    return torch.polar(torch.ones_like(angles), angles)


_FORMS: tuple[Callable[[torch.Tensor], Any], ...] = (_halves, _pairs, _plain, _complex)


def _map(result: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    return tuple(change(part) for part in result) if isinstance(result, tuple) else change(result)


def _equal(mine: Any, theirs: Any) -> bool:
    pairs = list(zip(mine, theirs, strict=False)) if isinstance(theirs, tuple) else [(mine, theirs)]
    if isinstance(mine, tuple) != isinstance(theirs, tuple):
        return False
    return all(a.shape == b.shape and torch.allclose(a.to(b.dtype), b, atol=1e-5, rtol=0) for a, b in pairs)


def wide_rotary(module: Any, layer_type: str | None) -> Callable[[torch.Tensor, torch.Tensor], Any]:
    """What the rotary module gives, from angles in float64; raises ModelError for a form that is not known."""
    prefix = "" if layer_type is None else f"{layer_type}_"
    frequencies = getattr(module, f"{prefix}inv_freq").double()
    scaling = getattr(module, f"{prefix}attention_scaling", 1.0)

    def rotary(form: Callable[[torch.Tensor], Any], positions: torch.Tensor) -> Any:
        angles = positions.unsqueeze(-1).double() * frequencies.to(positions.device)
        return _map(form(angles), lambda part: part * scaling)

    few = torch.arange(8, device=frequencies.device).unsqueeze(0)
    theirs = call_rotary(module, few, layer_type)
    for form in _FORMS:
        if _equal(rotary(form, few), theirs):
            return lambda x, positions: _map(rotary(form, positions), lambda part: _cast(part, x.dtype))
    raise ModelError(f"--rope float64 does not know the form of {type(module).__name__}.")


def _cast(part: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """To the dtype that the module itself would give: complex parts stay complex, in the width of transformers' own."""
    return part.to(torch.complex64) if part.is_complex() else part.to(dtype)


def use_float64_angles(model: torch.nn.Module) -> None:
    """Compute rotary angles in float64 from now on; raises ModelError for frequencies that change with the prompt."""
    found: dict[int, tuple[Any, dict[str | None, Callable[..., Any]]]] = {}
    for module, layer_type, kind in rotary_modules(model):
        if any(name in kind for name in _BY_LENGTH):
            raise ModelError(f"--rope float64 needs fixed frequencies, and {kind} RoPE has none yet.")
        found.setdefault(id(module), (module, {}))[1][layer_type] = wide_rotary(module, layer_type)
    for module, forms in found.values():
        module.forward = _forward(forms)


def _forward(forms: dict[str | None, Callable[..., Any]]) -> Callable[..., Any]:
    def forward(x: torch.Tensor, position_ids: torch.Tensor, layer_type: str | None = None) -> Any:
        return forms[layer_type](x, position_ids)

    return forward
