"""Tensors that every layer of a model takes, brought to each device once, and from the device before it.

A model on several devices makes its positions on the first, and accelerate's hooks bring them anew to every layer. A
copy between two GPUs waits until both are done with all they were given (torch's aten/src/ATen/native/cuda/Copy.cu):
the first would begin a chunk only when the last device is at the last layer of the chunk before. Handed on from device
to device, beside the hidden states, they make no device wait for any but the next: chunks flow as through a pipeline.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from accelerate.utils import recursively_apply


class Relay:
    """Copies of one forward's tensors."""

    def __init__(self) -> None:
        self._copies: dict[int, list[torch.Tensor]] = {}

    def clear(self) -> None:
        self._copies = {}

    def bring(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """The tensor on `device`: a copy of the latest copy, if none is there yet."""
        if tensor.device == device:
            return tensor
        copies = self._copies.setdefault(id(tensor), [tensor])  # held, so that no other tensor gets its id
        for known in copies:
            if known.device == device:
                return known
        copies.append(copies[-1].to(device))
        return copies[-1]


def relay_inputs(model: Any) -> None:
    """Let the parts of a dispatched model (`hf_device_map` names them) take their named inputs from one relay."""
    relay = Relay()
    model.register_forward_pre_hook(lambda *_: relay.clear())
    for name in model.hf_device_map:
        part = model.get_submodule(name)
        device = next((parameter.device for parameter in part.parameters()), None)
        if device is not None:
            part.register_forward_pre_hook(functools.partial(_bring_inputs, relay, device), with_kwargs=True)


def _bring_inputs(relay: Relay, device: torch.device, _: Any, inputs: Any, named: dict[str, Any]) -> tuple[Any, Any]:
    return inputs, recursively_apply(relay.bring, named, device)
