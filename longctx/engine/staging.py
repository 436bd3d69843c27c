"""Brings blocks to the device in the order of their use, copies ahead of the compute.

On a GPU a ring of buffers is filled from pinned memory on a stream of its own. The copy stream waits until the
kernels that read a buffer are done, the kernels wait until it is filled, and the host waits for neither. A CPU reads
blocks where they are. What is on disk alone is read into host memory first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from longctx.engine.blocks import Block, BlockView
from longctx.engine.disk import States

# Buffers: one that is read, one that is filled, and one that is ready, for when a copy is late.
_DEPTH = 3


class Stager:
    """Gives blocks' states on the device of the compute."""

    def __init__(self, device: torch.device) -> None:
        self._ring = _Ring(device) if device.type == "cuda" else None

    def stream(self, views: Sequence[BlockView], upcoming: Sequence[BlockView] = ()) -> Iterator[States]:
        """Keys and values (kv_heads, num_tokens, dim) of each view, valid until the next is asked for.

        `upcoming` are those that will be wanted after them; copies begin early.
        """
        if self._ring is not None:
            yield from self._ring.stream(views, upcoming)
            return
        for view in views:
            if view.block.states is not None:
                yield view.cut(view.block.states)
            else:
                yield view.cut(view.block.read_disk(view.skip + view.num_tokens))

    def write(self, block: Block, start: int, states: States) -> None:
        """Fill the tokens of `block` from `start` on with keys and values (kv_heads, n, dim), beside the compute."""
        if self._ring is not None and block.tier == "host":
            self._ring.write(block, start, states)
        else:
            block.write(start, states)

    def copy(self, source: Block, target: Block, num_tokens: int) -> None:
        """Fill the first tokens of `target` with those of `source`."""
        if self._ring is not None:
            self._ring.settle()
        if source.states is not None:
            target.write(0, (source.states[0][:, :num_tokens], source.states[1][:, :num_tokens]))
        elif target.states is not None:
            target.write(0, source.read_disk(num_tokens))
        target.filled = num_tokens


@dataclass(slots=True)
class _Slot:
    """A buffer on the device, with what has to happen before it may be read and before it may be filled again."""

    buffer: torch.Tensor
    pinned: torch.Tensor | None
    """For what comes from disk."""
    filled: Any
    read: Any


class _Ring:
    """The buffers of a GPU and its copy stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._free: deque[_Slot] = deque()
        self._loaded: dict[BlockView, _Slot] = {}
        self._num_slots = 0

    def stream(self, views: Sequence[BlockView], upcoming: Sequence[BlockView]) -> Iterator[States]:
        away = [view for view in views if view.block.tier != "device"]
        for stale in set(self._loaded) - set(away):
            self._free.append(self._loaded.pop(stale))
        ahead = deque(view for view in away if view not in self._loaded)
        ahead.extend([view for view in upcoming if view.block.tier != "device"][:_DEPTH])
        compute = torch.cuda.current_stream(self._device)
        for view in views:
            if view.block.tier == "device" and view.block.states is not None:
                yield view.cut(view.block.states)
                continue
            self._load_while_possible(ahead)
            slot = self._loaded.pop(view)
            compute.wait_event(slot.filled)
            try:
                yield view.cut(view.block.shape.view(slot.buffer))
            finally:  # also where a kernel ran out of memory: a lost buffer would stop the ring
                slot.read.record(compute)
                self._free.append(slot)
        self._load_while_possible(ahead)

    def _load_while_possible(self, ahead: deque[BlockView]) -> None:
        while ahead:
            slot = self._take_slot(ahead[0].block.shape.num_bytes)
            if slot is None:
                return
            view = ahead.popleft()
            self._fill(slot, view)
            self._loaded[view] = slot

    def _take_slot(self, num_bytes: int) -> _Slot | None:
        for slot in self._free:
            if slot.buffer.numel() == num_bytes:
                self._free.remove(slot)
                return slot
        if self._num_slots >= _DEPTH and not self._free:
            return None
        if self._num_slots >= _DEPTH:  # blocks of another size: give up a buffer for one that fits
            self._free.popleft()
            self._num_slots -= 1
        self._num_slots += 1
        buffer = torch.empty(num_bytes, dtype=torch.uint8, device=self._device)
        filled, read = torch.cuda.Event(), torch.cuda.Event()  # type: ignore[no-untyped-call]
        return _Slot(buffer, None, filled, read)

    def _fill(self, slot: _Slot, view: BlockView) -> None:
        stop = view.skip + view.num_tokens
        states = view.block.states
        if states is None:
            slot.filled.synchronize()  # the last copy out of `pinned` must be done before it is written
            if slot.pinned is None:
                slot.pinned = torch.empty(slot.buffer.numel(), dtype=torch.uint8, pin_memory=True)
            states = view.block.shape.view(slot.pinned)
            for mine, read in zip(states, view.block.read_disk(stop), strict=True):
                mine[:, :stop].copy_(read)
        self._copies.wait_event(slot.read)
        with torch.cuda.stream(self._copies):
            for there, here in zip(view.block.shape.view(slot.buffer), states, strict=True):
                there[:, :stop].copy_(here[:, :stop], non_blocking=True)
        slot.filled.record(self._copies)

    def write(self, block: Block, start: int, states: States) -> None:
        """Copy new tokens out on the copy stream, so that later copies in of the same block come after it."""
        # In the block's own layout: a copy that also transposes would make the host wait.
        keys, values = (s.transpose(0, 1).contiguous().transpose(0, 1) for s in states)
        self._copies.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._copies):
            block.write(start, (keys, values))
        for tensor in (keys, values):
            tensor.record_stream(self._copies)

    def settle(self) -> None:
        """Wait until all copies are done, for what the host itself will read."""
        self._copies.synchronize()
