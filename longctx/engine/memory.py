"""Where blocks of keys and values live: on the device, in host memory, or on disk alone; with a budget for each."""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass
from typing import Literal

import torch

Tier = Literal["device", "host"]

_TIERS: tuple[Tier, ...] = ("device", "host")
# torch's device of tensors that have a size and no content.
_NO_CONTENT = torch.device("meta")


class NoSpaceError(RuntimeError):
    """Keys and values fit in no tier that has a budget."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of one tier: the budget, and what blocks take of it now and took at most."""

    budget: int
    now: int = 0
    peak: int = 0


class _Pool:
    """The buffers of one tier. Given-back ones are kept for blocks of the same size: allocating pinned memory takes
    longer than filling it."""

    def __init__(self, device: torch.device, budget: int, pinned: bool) -> None:
        self._usage = Usage(budget)
        self._device = device
        self._pinned = pinned
        self._free: dict[int, list[torch.Tensor]] = {}
        self._lock = threading.Lock()  # branches are extended by different workers
        # Blocks give their buffers back when they are collected, which may be while this thread holds the lock.
        self._returned: queue.SimpleQueue[torch.Tensor] = queue.SimpleQueue()

    @property
    def usage(self) -> Usage:
        with self._lock:
            self._take_in()
            return self._usage

    def take(self, num_bytes: int) -> torch.Tensor | None:
        with self._lock:
            self._take_in()
            budget, now = self._usage.budget, self._usage.now + num_bytes
            if now > budget:
                return None
            free = self._free.get(num_bytes)
            buffer = free.pop() if free else self._allocate(num_bytes, now)
            self._usage = Usage(budget, now, max(self._usage.peak, now))
            return buffer

    def _allocate(self, num_bytes: int, now: int) -> torch.Tensor:
        kept = sum(size * len(buffers) for size, buffers in self._free.items())
        if now + kept > self._usage.budget:
            self._free.clear()
        return torch.empty(num_bytes, dtype=torch.uint8, device=self._device, pin_memory=self._pinned)

    def give_back(self, buffer: torch.Tensor) -> None:
        self._returned.put(buffer)

    def _take_in(self) -> None:
        """Count what was given back as free."""
        with contextlib.suppress(queue.Empty):
            while True:
                buffer = self._returned.get_nowait()
                usage = self._usage
                self._usage = Usage(usage.budget, usage.now - buffer.numel(), usage.peak)
                self._free.setdefault(buffer.numel(), []).append(buffer)


class Memory:
    """Hands out the buffers of blocks from the first tier with room, and takes them back."""

    def __init__(self, device: torch.device, device_bytes: int, host_bytes: int = 0) -> None:
        host = device if device == _NO_CONTENT else torch.device("cpu")
        self.device = device
        self.is_here = True
        """Whether this process holds what is taken."""
        self._pools: dict[Tier, _Pool] = {
            "device": _Pool(device, device_bytes, pinned=False),
            "host": _Pool(host, host_bytes, pinned=device.type == "cuda"),
        }

    def beside(self, device: torch.device, device_bytes: int) -> Memory:
        """Memory of another device, with the same host memory beside it."""
        twin = Memory(device, device_bytes)
        twin._pools["host"] = self._pools["host"]
        return twin

    def elsewhere(self) -> Memory:
        """Memory like this one in another process: what is taken there is counted here, and not held."""
        twin = Memory(_NO_CONTENT, *(self.usage(tier).budget for tier in _TIERS))
        twin.is_here = False
        return twin

    def usage(self, tier: Tier) -> Usage:
        """Bytes of a tier."""
        return self._pools[tier].usage

    def take(self, num_bytes: int) -> tuple[Tier, torch.Tensor] | None:
        """A buffer of bytes from the first tier with room for it; None if there is none."""
        for tier in _TIERS:
            buffer = self._pools[tier].take(num_bytes)
            if buffer is not None:
                return tier, buffer
        return None

    def give_back(self, tier: Tier, buffer: torch.Tensor) -> None:
        """Take back a buffer that `take` handed out."""
        self._pools[tier].give_back(buffer)
