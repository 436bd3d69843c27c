"""Where blocks of keys and values live: on the device, in host memory, or on disk alone; with a budget for each."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

import torch

Tier = Literal["device", "host"]


class NoSpaceError(RuntimeError):
    """Keys and values fit in no tier that has a budget."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of one tier: the budget, and what blocks take of it now and took at most."""

    budget: int
    now: int = 0
    peak: int = 0


class Memory:
    """Hands out the buffers of blocks from the first tier with room, and takes them back.

    Given-back buffers are kept for blocks of the same size: allocating pinned memory takes longer than filling it.
    """

    def __init__(self, device: torch.device, device_bytes: int, host_bytes: int = 0) -> None:
        self.device = device
        self._usage: dict[Tier, Usage] = {"device": Usage(device_bytes), "host": Usage(host_bytes)}
        self._free: dict[tuple[Tier, int], list[torch.Tensor]] = {}
        self._lock = threading.Lock()  # branches are extended by different workers

    def usage(self, tier: Tier) -> Usage:
        """Bytes of a tier."""
        return self._usage[tier]

    def take(self, num_bytes: int) -> tuple[Tier, torch.Tensor] | None:
        """A buffer of bytes from the first tier with room for it; None if there is none."""
        tiers: tuple[Tier, ...] = ("device", "host")
        with self._lock:
            for tier in tiers:
                usage = self._usage[tier]
                if usage.now + num_bytes <= usage.budget:
                    now = usage.now + num_bytes
                    self._usage[tier] = Usage(usage.budget, now, max(usage.peak, now))
                    free = self._free.get((tier, num_bytes))
                    return tier, free.pop() if free else self._allocate(tier, num_bytes)
        return None

    def _allocate(self, tier: Tier, num_bytes: int) -> torch.Tensor:
        kept = sum(size * len(buffers) for (where, size), buffers in self._free.items() if where == tier)
        if self._usage[tier].now + kept > self._usage[tier].budget:
            self._free = {key: buffers for key, buffers in self._free.items() if key[0] != tier}
        if tier == "device":
            return torch.empty(num_bytes, dtype=torch.uint8, device=self.device)
        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=self.device.type == "cuda")

    def give_back(self, tier: Tier, buffer: torch.Tensor) -> None:
        """Take back a buffer that `take` handed out."""
        with self._lock:
            usage = self._usage[tier]
            self._usage[tier] = Usage(usage.budget, usage.now - buffer.numel(), usage.peak)
            self._free.setdefault((tier, buffer.numel()), []).append(buffer)
