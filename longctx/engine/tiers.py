"""Where the blocks of a run's caches live: which devices, which processes, and how much of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from longctx.engine.disk import DiskStore
from longctx.engine.kernels import Kernel
from longctx.engine.memory import Memory
from longctx.engine.ranks import ALONE, Ranks
from longctx.engine.staging import Stager


@dataclass(frozen=True, slots=True)
class Holders:
    """Who holds the layers of a loaded model, and so their keys and values."""

    layers: tuple[torch.device, ...]
    """The device of each layer."""
    ranks: Ranks = ALONE
    """The processes that hold the model together."""
    deals_blocks: bool = False
    """Whether blocks go round the ranks; else each rank has its own heads of all blocks."""

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Each device once, in the order of the layers."""
        return tuple(dict.fromkeys(self.layers))

    def describe(self) -> str | None:
        """How several processes share the model, which decides its last bits; None for one process."""
        if self.ranks.count == 1:
            return None
        split = "blocks dealt out" if self.deals_blocks else "heads split"
        return f"tensor over {self.ranks.count} ranks, {split}"


@dataclass(frozen=True, slots=True)
class Place:
    """A device with layers on it: memory for their blocks, and what brings them there."""

    memory: Memory
    stager: Stager


@dataclass(frozen=True, slots=True)
class Tiers:
    """Where the blocks of a run's caches live."""

    memory: Memory
    """Of the first layer's device."""
    stager: Stager
    block_tokens: int
    kernel: Kernel
    """What attention over the blocks is computed with."""
    disk: DiskStore | None = None
    layers: tuple[Place, ...] = ()
    """Of each layer, where they are on several devices."""
    ranks: Ranks = ALONE
    dealt: tuple[Memory, ...] = ()
    """Of each rank, where block i of a layer that sees everything is held by rank i mod count; `memory` is one."""

    @classmethod
    def in_memory(cls, device: torch.device, num_bytes: int, block_tokens: int, kernel: Kernel) -> Tiers:
        """Blocks on one device alone."""
        return cls(Memory(device, num_bytes), Stager(device), block_tokens, kernel)

    @classmethod
    def over(
        cls,
        holders: Holders,
        device_bytes: Mapping[torch.device, int],
        host_bytes: int,
        block_tokens: int,
        kernel: Kernel,
        disk: DiskStore | None = None,
    ) -> Tiers:
        """Blocks where the layers are, within a budget for each device and one for the host memory beside them."""
        first, *others = holders.devices
        memory = Memory(first, device_bytes[first], host_bytes)
        places = {first: Place(memory, Stager(first))}
        places |= {other: Place(memory.beside(other, device_bytes[other]), Stager(other)) for other in others}
        layers = tuple(places[device] for device in holders.layers) if others else ()
        ranks = holders.ranks
        dealt: tuple[Memory, ...] = ()
        if holders.deals_blocks:
            dealt = tuple(memory if rank == ranks.index else memory.elsewhere() for rank in range(ranks.count))
        return cls(memory, places[first].stager, block_tokens, kernel, disk, layers, ranks, dealt)

    def place(self, layer: int) -> Place:
        """Where a layer is."""
        return self.layers[layer] if self.layers else Place(self.memory, self.stager)
