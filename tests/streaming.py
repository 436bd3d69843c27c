"""Reads prompts with a streamed cache, and with a model's own attention to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from longctx.engine.disk import DiskStore
from longctx.engine.kernels import Kernel, choose_kernel
from longctx.engine.kv import StreamedCache
from longctx.engine.memory import Memory
from longctx.engine.selftest import head_shapes, stream
from longctx.engine.staging import Stager
from longctx.engine.tiers import Tiers

BLOCK = 16
MUCH = 2**40


def flash(model: Any) -> Kernel:
    """torch's kernel for CPUs, tested for this model's heads."""
    return choose_kernel("flash", head_shapes(model.config), model.dtype, "cpu")


def make_tiers(
    kernel: Kernel, device: int = MUCH, host: int = 0, disk: Path | None = None, block: int = BLOCK
) -> Tiers:
    """Blocks of `block` tokens on a CPU, with budgets in bytes."""
    cpu = torch.device("cpu")
    store = None if disk is None else DiskStore(disk, "test")
    return Tiers(Memory(cpu, device, host), Stager(cpu), block, kernel, store)


@torch.inference_mode()
def read(model: Any, ids: torch.Tensor, cache: StreamedCache, chunk: int) -> torch.Tensor:
    """Logits (vocabulary,) after the last of `ids` (n,), read into the document in chunks."""
    for start in range(0, len(ids), chunk):
        step = ids[start : start + chunk]
        output = model(input_ids=step[None], past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.commit(len(step))
        cache.save(f"{chunk}-{start}")
    logits: torch.Tensor = output.logits[0, -1]
    return logits


@torch.inference_mode()
def ask(model: Any, rows: Sequence[Sequence[int]], cache: StreamedCache) -> list[torch.Tensor]:
    """Logits (vocabulary,) after each row of tokens, all read in one forward; the rows stay in the cache."""
    width = max(map(len, rows))
    valid = torch.arange(width) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
    positions = cache.begin_rows(valid)
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    logits = model(input_ids=ids, past_key_values=cache, use_cache=True, position_ids=positions).logits
    cache.take_back(valid)
    return [logits[index, len(row) - 1] for index, row in enumerate(rows)]


def greedy(model: Any, logits: torch.Tensor, cache: StreamedCache, steps: int) -> list[torch.Tensor]:
    """The logits of `steps` greedy steps after `logits`, decoded over the document in `cache`."""
    found, question = [logits], cache.ask()
    for _ in range(steps):
        found += ask(model, [[int(found[-1].argmax())]], question)
    return found


@torch.inference_mode()
def own_logits(model: Any, ids: Sequence[int] | torch.Tensor) -> torch.Tensor:
    """Logits (vocabulary,) after `ids`, of one forward with the model's eager attention and no cache."""
    model.set_attn_implementation("eager")
    logits: torch.Tensor = model(input_ids=torch.as_tensor(ids)[None], use_cache=False).logits[0, -1]
    stream(model)
    return logits


@torch.inference_mode()
def own_steps(model: Any, ids: torch.Tensor, tokens: Sequence[int]) -> list[torch.Tensor]:
    """Logits (vocabulary,) after `ids` and after each of the `tokens` that follow, of one forward as `own_logits`."""
    model.set_attn_implementation("eager")
    whole = torch.cat([ids, torch.tensor(tokens, dtype=torch.long)])[None]
    found = model(input_ids=whole, use_cache=False, logits_to_keep=len(tokens) + 1).logits[0]
    stream(model)
    return list(found)
