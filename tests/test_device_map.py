"""Layers on several devices: each keeps its own keys and values, and nothing waits for a device between chunks.

There is one real device here. torch's `meta` stands for another: its tensors have no content, so whoever mixes devices,
or asks for a value there, which on a GPU would mean to wait for it, fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from streaming import BLOCK, MUCH, flash, greedy, make_tiers, read
from test_ranks import prompt
from torch.utils._python_dispatch import TorchDispatchMode

from longctx.config import Layout
from longctx.engine.cost import ModelShape
from longctx.engine.disk import DiskStore
from longctx.engine.kernels import Kernel
from longctx.engine.kv import StreamedCache
from longctx.engine.layout import device_map, find_holders
from longctx.engine.loading import load_model, read_card
from longctx.engine.memory import Memory, NoSpaceError
from longctx.engine.ranks import ALONE
from longctx.engine.reader import Reader
from longctx.engine.relay import Relay
from longctx.engine.selftest import stream
from longctx.engine.sources import find_source
from longctx.engine.staging import Stager
from longctx.engine.tiers import Holders, Place, Tiers
from longctx.errors import ConfigError, ModelError
from longctx.sweep.shard import Shard, chosen_shard

CPU, SECOND = torch.device("cpu"), torch.device("meta")
DENSE = {"first_k_dense_replace": 4}  # routing to experts reads values, in the model's own code


def dispatch(model: Any, *devices: torch.device) -> Any:
    """The model with equal shares of its layers on these devices, by accelerate's hooks; what follows with the last."""
    layers = model.model.layers
    share = len(layers) // len(devices)
    places = {f"model.layers.{index}": devices[index // share] for index in range(len(layers))}
    places |= {"model.embed_tokens": devices[0], "model.norm": devices[-1], "lm_head": devices[-1]}
    for name, device in places.items():
        module = model.get_submodule(name)
        module.to(device)
        add_hook_to_module(module, AlignDevicesHook(device, io_same_device=False, skip_keys="past_key_values"))
    model.hf_device_map = places
    stream(model)
    return model


def read_document(model: Any, holders: Holders, num_chunks: int = 3) -> tuple[StreamedCache, Tiers]:
    tiers = Tiers.over(holders, dict.fromkeys(holders.devices, MUCH), 0, BLOCK, Kernel("reference"))
    reader = Reader(model, str, ModelShape.from_config(model.config), tiers)
    cache = reader.new_cache()
    for seed in range(num_chunks):
        reader.prefill(prompt(seed, 40).numpy(), cache)
    return cache, tiers


@pytest.mark.parametrize("name", ["llama", "gemma 3", "gemma 2", "mistral, window", "phi 3", "llama 4", "deepseek v3"])
def test_every_layer_keeps_its_keys_where_it_is(name: str) -> None:
    model = zoo.make(name, **(DENSE if name == "deepseek v3" else {}))
    dispatch(model, CPU, SECOND)
    holders = find_holders(model, ALONE)
    assert holders.layers == (CPU, CPU, SECOND, SECOND)
    cache, tiers = read_document(model, holders)
    for layer, device in zip(cache.layers, holders.layers, strict=True):
        found = {view.block.states[0].device for view in layer.blocks.views(120)}
        assert found == {device}
    first, second = tiers.place(0).memory, tiers.place(3).memory
    assert 0 < first.usage("device").now <= second.usage("device").now  # the full layer of these is the last
    assert tiers.place(1) is tiers.place(0)
    reader = Reader(model, str, ModelShape.from_config(model.config), tiers)
    fan = cache.ask(2)
    assert reader.ask([[5, 6, 7], [8]], fan, 1).device == SECOND
    assert [layer.tail.states[0].device for layer in fan.layers] == list(holders.layers)


@pytest.mark.parametrize("name", ["llama", "gemma 3", "gemma 2", "mistral, window", "phi 3", "llama 4", "deepseek v3"])
def test_chunk_after_chunk_is_launched_without_waiting_for_a_value(name: str) -> None:
    model = zoo.make(name, **(DENSE if name == "deepseek v3" else {})).to(SECOND)
    stream(model)
    cache, tiers = read_document(model, Holders((SECOND,) * 4))
    assert cache.length == 120
    assert tiers.memory.usage("device").now > 0


class Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the copies from one device to another."""

    num_copies = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        copying = func.overloadpacket in (torch.ops.aten.to, torch.ops.aten._to_copy)
        if copying and found.device != args[0].device:
            self.num_copies += 1
        return found


@pytest.mark.parametrize("name", ["llama", "gemma 3", "llama 4"])
def test_a_device_is_given_what_its_layers_share_once_however_many_they_are(name: str) -> None:
    counts = []
    for devices in ((CPU, CPU, SECOND, SECOND), (CPU, SECOND, SECOND, SECOND)):
        model = dispatch(zoo.make(name), *devices)
        holders = find_holders(model, ALONE)
        with Copies() as copies:  # type: ignore[no-untyped-call]
            read_document(model, holders)
        counts.append(copies.num_copies)
    assert counts[0] == counts[1] > 0


class Somewhere:
    """Stands for a tensor on one of many GPUs, and remembers where it was copied from."""

    def __init__(self, device: str, way: tuple[str, ...] = ()) -> None:
        self.device, self.way = device, (*way, device)

    def to(self, device: str) -> Somewhere:
        return Somewhere(device, self.way)


def test_what_layers_share_is_handed_from_device_to_device() -> None:
    relay, made = Relay(), Somewhere("first")
    brought: list[Any] = [relay.bring(made, device) for device in ("first", "second", "third", "second")]  # type: ignore[arg-type]
    assert [copy.way for copy in brought[:3]] == [("first",), ("first", "second"), ("first", "second", "third")]
    assert brought[3] is brought[1]
    relay.clear()
    assert relay.bring(made, "second") is not brought[1]  # type: ignore[arg-type]


def two_places(
    first_bytes: int, second_bytes: int, host_bytes: int, kernel: Kernel, disk: DiskStore | None = None
) -> Tiers:
    """Layers 0 and 1 in one memory, 2 and 3 in another, with common host memory beside both."""
    memory = Memory(CPU, first_bytes, host_bytes)
    first, second = (Place(m, Stager(CPU)) for m in (memory, memory.beside(CPU, second_bytes)))
    return Tiers(memory, first.stager, BLOCK, kernel, disk, layers=(first, first, second, second))


@pytest.mark.parametrize("name", ["llama", "gemma 3", "llama 4", "gpt-oss"])
def test_two_devices_give_the_bits_of_one_within_a_budget_each(name: str) -> None:
    model, ids = zoo.make(name), prompt(0, 150)
    stream(model)
    alone = StreamedCache(model.config, make_tiers(flash(model)))
    wanted = greedy(model, read(model, ids, alone, 40), alone, 3)
    dispatch(model, CPU, CPU)
    tiers = two_places(20_000, MUCH, MUCH, flash(model))
    cache = StreamedCache(model.config, tiers)
    found = greedy(model, read(model, ids, cache, 40), cache, 3)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    first, second = tiers.place(0).memory, tiers.place(2).memory
    assert 0 < first.usage("device").peak <= 20_000
    assert second.usage("device").now > 0
    assert first.usage("host").now == second.usage("host").now > 0  # the first's, and seen from both
    del cache, found
    assert second.usage("device").now == first.usage("host").now == 0


@pytest.mark.parametrize("name", ["llama", "gemma 3"])
def test_files_hold_the_layers_of_all_devices(name: str, tmp_path: Path) -> None:
    model, ids = zoo.make(name), prompt(0, 120)
    stream(model)
    disk = DiskStore(tmp_path, "test")
    cache, restored = (StreamedCache(model.config, two_places(0, 30_000, 0, flash(model), disk)) for _ in range(2))
    logits = read(model, ids, cache, 40)
    for start in range(0, 120, 40):
        restored.restore(f"40-{start}", 40)
    found, wanted = (greedy(model, logits, each, 2) for each in (restored, cache))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_device_without_room_says_so_though_the_other_has_some() -> None:
    model = zoo.make("llama")
    stream(model)
    cache = StreamedCache(model.config, two_places(MUCH, 0, 0, flash(model)))
    with pytest.raises(NoSpaceError, match="fit in no tier"):
        read(model, prompt(0, 20), cache, 20)


def test_copies_ahead_are_of_the_same_device() -> None:
    model = zoo.make("llama")
    stream(model)
    cache = StreamedCache(model.config, two_places(MUCH, MUCH, 0, flash(model)))
    read(model, prompt(0, 40), cache, 40)
    assert [len(layer.upcoming()) for layer in cache.layers] == [3, 0, 3, 0]


def test_a_model_on_several_devices_that_cannot_be_followed_is_refused_by_name() -> None:
    model = zoo.make("llama")
    model.hf_device_map = {"model.layers.0": 0, "model.layers.1": "disk"}
    with pytest.raises(ModelError, match=r"model\.layers\.1 would be on disk"):
        find_holders(model, ALONE)
    sharing = zoo.make("gemma 4, shared keys and experts")
    sharing.hf_device_map = {"a": 0, "b": 1}
    with pytest.raises(ModelError, match="shares keys between layers"):
        find_holders(sharing, ALONE)
    model.hf_device_map = {"a": 0, "b": 1}
    del model.model.layers[2].self_attn.layer_idx
    with pytest.raises(ModelError, match=r"where its layers \[2\] are"):
        find_holders(model, ALONE)


def test_a_device_map_is_for_all_gpus_of_one_process() -> None:
    with pytest.raises(ConfigError, match="cannot keep to cuda:1"):
        device_map("auto", "cuda:1")
    assert device_map("sequential", "cuda") == {"device_map": "sequential"}
    launched = {"WORLD_SIZE": "2", "RANK": "1"}
    with pytest.raises(ConfigError, match="2 were launched"):
        chosen_shard(None, Layout("auto"), launched)
    assert chosen_shard(None, Layout("auto"), {}) == Shard()
    assert chosen_shard(None, Layout(), launched) == Shard(2, 2)
    assert chosen_shard(None, Layout(parallel="tensor"), launched) == Shard()
    assert chosen_shard("1/3", Layout(parallel="tensor"), launched) == Shard(1, 3)


def test_without_a_gpu_auto_is_the_one_processor(model_folder: Path) -> None:
    card = read_card(find_source(str(model_folder)))
    spread, plain = (load_model(card, "float32", "cpu", layout=layout) for layout in (Layout("auto"), None))
    assert spread.holders == plain.holders == Holders((CPU, CPU))
    assert spread.fingerprint == plain.fingerprint
