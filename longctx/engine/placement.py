"""Whether keys and values of a length fit a machine, where they will live, and how long reading takes there."""

from __future__ import annotations

from dataclasses import dataclass

from longctx.engine.cost import ModelShape

# Of the memory that is free on a machine, what may be taken by default; the rest is for activations and for others.
FREE_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine has. Rates are those of all its devices together."""

    name: str
    source: str
    """How the rates are known."""
    device_bytes: int
    """Of device memory, for weights, keys and values."""
    host_bytes: int
    """Of host memory beside the devices, for keys and values."""
    disk_bytes: int
    """Of disk; where there is some, it holds all keys and values, and memory the first of them again."""
    flops_rate: float
    """Floating-point operations a second that are reached, not the data sheet's."""
    device_rate: float
    """Bytes a second that the devices read from their own memory."""
    host_rate: float
    """Bytes a second from host memory to the devices."""
    disk_rate: float
    """Bytes a second from or to disk."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Bytes of keys and values by where attention reads them from."""

    device: int
    host: int
    disk: int


@dataclass(frozen=True, slots=True)
class Placement:
    """One length of document on one machine."""

    num_tokens: int
    spread: Spread
    flops: int
    """Of the whole prefill."""
    missing_weight_bytes: int
    """Of device memory, for the weights alone."""
    missing_kv_bytes: int
    """Of disk if there is any, else of memory."""
    prefill_seconds: float
    decode_seconds: float
    """Of one step, with all questions in one batch."""

    @property
    def fits(self) -> bool:
        return not self.missing_weight_bytes and not self.missing_kv_bytes


@dataclass(frozen=True, slots=True)
class Workload:
    """A model and how it is read."""

    shape: ModelShape
    itemsize: int
    """Bytes of a number, in weights, keys and values."""
    chunk: int
    """Tokens of a prefill chunk."""
    num_questions: int
    """That are answered at a time."""

    @property
    def weight_bytes(self) -> int:
        return self.shape.parameters.num_all * self.itemsize


def place(work: Workload, machine: Machine, num_tokens: int) -> Placement:
    """What a document of `num_tokens` tokens takes on `machine`.

    Times are for computing and copying beside each other; a chunk is written to disk before the next is read.
    """
    flops, prefill_seconds = 0, 0.0
    for start in range(0, num_tokens, work.chunk):
        stop = min(start + work.chunk, num_tokens)
        chunk_flops = work.shape.prefill_flops(start, stop) + work.shape.expansion_flops(start)
        transfer = _transfer_seconds(_spread(work, machine, start), machine)
        prefill_seconds += max(chunk_flops / machine.flops_rate, transfer)
        flops += chunk_flops
    kv_bytes = work.shape.kv_bytes(num_tokens, work.itemsize)
    if machine.disk_bytes:
        prefill_seconds += kv_bytes / machine.disk_rate
    room = machine.disk_bytes or _device_room(work, machine) + machine.host_bytes
    return Placement(
        num_tokens,
        _spread(work, machine, num_tokens),
        flops,
        max(0, work.weight_bytes - machine.device_bytes),
        max(0, kv_bytes - room),
        prefill_seconds,
        _decode_seconds(work, machine, num_tokens),
    )


def _device_room(work: Workload, machine: Machine) -> int:
    """Bytes of device memory that the weights leave."""
    return max(0, machine.device_bytes - work.weight_bytes)


def _spread(work: Workload, machine: Machine, num_tokens: int) -> Spread:
    """Where the keys and values of the first tokens are: each tier is filled before the next."""
    total = work.shape.kv_bytes(num_tokens, work.itemsize)
    device = min(total, _device_room(work, machine))
    host = min(total - device, machine.host_bytes)
    return Spread(device, host, min(total - device - host, machine.disk_bytes))


def _transfer_seconds(spread: Spread, machine: Machine) -> float:
    """To bring what is not on the devices there, one tier after the other."""
    return spread.host / machine.host_rate + spread.disk / machine.disk_rate


def _decode_seconds(work: Workload, machine: Machine, num_tokens: int) -> float:
    """One step of all questions: every key, value and weight is read once for all of them."""
    parameters = work.shape.parameters
    spread = _spread(work, machine, num_tokens)
    weight_bytes = parameters.num_read(work.num_questions) * work.itemsize
    each = work.shape.prefill_flops(num_tokens, num_tokens + 1) + 2 * parameters.num_head
    flops = work.num_questions * each + work.shape.expansion_flops(num_tokens)
    return max(
        (weight_bytes + spread.device) / machine.device_rate,
        _transfer_seconds(spread, machine),
        flops / machine.flops_rate,
    )
