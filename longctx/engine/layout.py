"""How transformers is told to lay a model over devices and processes, and where its layers then are."""

from __future__ import annotations

import copy
from typing import Any

import torch

from longctx.engine.ranks import Ranks
from longctx.engine.relay import relay_inputs
from longctx.engine.selftest import head_shapes
from longctx.engine.tiers import Holders
from longctx.errors import ConfigError, ModelError

# The parts of a model's own plan for tensor parallelism that split its attention.
_ATTENTION = ("self_attn", "attention", "attn")


def device_map(name: str, device: str) -> dict[str, Any]:
    """What from_pretrained takes for a model spread over the GPUs of this process.

    On a machine without GPUs that is its one processor. Raises ConfigError for a single device that was asked for.
    """
    if device not in ("cuda", "cpu") or (device == "cpu" and torch.cuda.is_available()):
        raise ConfigError(f"--device-map {name} takes all GPUs that this process sees; it cannot keep to {device}.")
    return {"device_map": name}


def splits_heads(config: Any, ranks: Ranks) -> bool:
    """Whether the model's plan gives each rank some KV heads of its own, with all of their queries.

    It does not where the heads do not divide by the ranks, where the plan gathers projections again (Phi 3), and for
    latent attention, whose cache has no heads.
    """
    config = config.get_text_config(decoder=True)
    plan = config.base_model_tp_plan or {}
    splits = any(name.endswith("k_proj") and style == "colwise" for name, style in plan.items())
    divide = all(shape.num_kv_heads % ranks.count == 0 for shape in head_shapes(config))
    return splits and divide and not getattr(config, "kv_lora_rank", None)


def tensor_parallel(config: Any, ranks: Ranks) -> dict[str, Any]:
    """What from_pretrained takes for a model split over `ranks`: nothing if it has no plan for that.

    Attention is left whole where its heads cannot be split; every rank then computes all of it over its own blocks.
    """
    from transformers.distributed import DistributedConfig

    config = copy.deepcopy(config)
    text_config = config.get_text_config(decoder=True)
    plan = dict(text_config.base_model_tp_plan or {})
    if not splits_heads(config, ranks):
        plan = {name: style for name, style in plan.items() if not set(name.split(".")) & set(_ATTENTION)}
    if not plan:
        return {}
    text_config.base_model_tp_plan = plan
    return {"config": config, "distributed_config": DistributedConfig(tp_size=ranks.count, tp_plan="auto")}


def find_holders(model: Any, ranks: Ranks) -> Holders:
    """Where the layers of a loaded model are; raises ModelError for a layout that its attention cannot follow.

    Where they are on several devices, what all layers take is from now on handed from one device to the next.
    """
    config = model.config.get_text_config(decoder=True)
    num_layers = int(config.num_hidden_layers)
    if ranks.count > 1:
        return Holders((model.device,) * num_layers, ranks, not splits_heads(config, ranks))
    places = getattr(model, "hf_device_map", {})
    if len(set(places.values())) < 2:
        return Holders((model.device,) * num_layers)
    for name, device in places.items():
        if device in ("cpu", "disk"):  # accelerate's way to say that a GPU has no room for it
            raise ModelError(
                f"The weights do not fit on the GPUs: {name} would be on {device}, and be brought from there for every "
                "chunk. Use more or larger GPUs, or --parallel tensor over several machines."
            )
    if getattr(config, "num_kv_shared_layers", 0):
        raise ModelError(f"{type(model).__name__} shares keys between layers, which must then be on one device.")
    found = _layer_devices(model)
    relay_inputs(model)
    return Holders(tuple(found[index] for index in range(num_layers)))


def _layer_devices(model: Any) -> dict[int, torch.device]:
    """The device of each layer's attention, which is where its keys arrive; raises ModelError if one is not found."""
    found: dict[int, torch.device] = {}
    for module in model.modules():
        index = getattr(module, "layer_idx", None)
        parameter = next(module.parameters(), None)
        if isinstance(index, int) and parameter is not None:
            found.setdefault(index, parameter.device)
    missing = set(range(int(model.config.get_text_config(decoder=True).num_hidden_layers))) - set(found)
    if missing:
        raise ModelError(f"{type(model).__name__} does not say where its layers {sorted(missing)} are.")
    return found
