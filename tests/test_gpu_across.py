"""What is only real on one or more CUDA devices: nothing waits between chunks, and layers on two devices."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import zoo
from streaming import MUCH, read
from test_ranks import prompt
from transformers import AutoModelForCausalLM

from longctx.engine.cost import ModelShape
from longctx.engine.kernels import Kernel
from longctx.engine.kv import StreamedCache
from longctx.engine.layout import device_map, find_holders
from longctx.engine.memory import Memory
from longctx.engine.ranks import ALONE
from longctx.engine.reader import Reader
from longctx.engine.selftest import stream
from longctx.engine.staging import Stager
from longctx.engine.tiers import Tiers

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("name", ["llama", "gemma 3", "llama 4"])
def test_the_host_waits_for_no_chunk(name: str) -> None:
    """With keys and values in all tiers of memory; torch raises where the host would wait for the device."""
    cuda = torch.device("cuda", 0)
    model = zoo.make(name).to(cuda)
    stream(model)
    tiers = Tiers(Memory(cuda, 30_000, 2**30), Stager(cuda), 16, Kernel("reference"))
    reader = Reader(model, str, ModelShape.from_config(model.config), tiers)
    cache = reader.new_cache()
    reader.prefill(prompt(0, 40).numpy(), cache)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for seed in range(1, 5):
            reader.prefill(prompt(seed, 40).numpy(), cache)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert cache.length == 200


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device alone")
@pytest.mark.parametrize("name", ["llama", "gemma 3", "llama 4", "gpt-oss"])
def test_two_devices_compute_what_one_does(name: str, tmp_path: Path) -> None:
    zoo.make(name).save_pretrained(tmp_path)
    logits = []
    for spread in ({"device_map": 0}, device_map("auto", "cuda")):
        model = AutoModelForCausalLM.from_pretrained(
            tmp_path, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager", **spread
        )
        holders = find_holders(model, ALONE)
        stream(model)
        tiers = Tiers.over(holders, dict.fromkeys(holders.devices, MUCH), MUCH, 16, Kernel("reference"))
        cache = StreamedCache(model.config, tiers)
        logits.append(read(model, prompt(0, 150).to(model.device), cache, 40).cpu())
    assert len(holders.devices) == torch.cuda.device_count()
    assert (logits[0] - logits[1]).abs().max() < 1e-9
