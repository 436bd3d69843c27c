"""How fast this machine multiplies and reads memory, for time estimates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from longctx.environment import num_cores, num_processes_here

# Share of the plain matrix product's rate that a whole prefill reaches; the rest goes to attention's
# smaller products, to norms and activations, and to decoding the wrong answers.
_UTILISATION = 0.6
_SIZE = 1024
_MIN_SECONDS = 0.05
# The best of several: other work on the machine makes some slower, none faster.
_NUM_ROUNDS = 5
# Larger than any cache between a processor and its memory.
_MEMORY_BYTES = 2**28


def _seconds_each(run: Callable[[int], object]) -> float:
    """Seconds of one of the repeats that `run` makes, which returns when they are done."""
    run(2)
    times, seconds, best = 1, 0.0, math.inf
    while seconds < _MIN_SECONDS:
        times *= 2
        seconds = _timed(run, times)
    for _ in range(_NUM_ROUNDS):
        best = min(best, _timed(run, times))
    return best / times


def _timed(run: Callable[[int], object], times: int) -> float:
    start = time.perf_counter()
    run(times)
    return time.perf_counter() - start


def prefill_rate(dtype: str, device: str) -> float:
    """Floating-point operations a second to expect: a measured matrix product times _UTILISATION.

    On a CPU that of one core times this process' share of them, since workers have a core each.
    """
    left, right = (torch.randn(_SIZE, _SIZE, dtype=getattr(torch, dtype), device=device) for _ in range(2))

    def run(times: int) -> float:
        for _ in range(times):
            product = left @ right
        return float(product[0, 0])  # waits for the device

    if torch.device(device).type != "cpu":
        return _UTILISATION * 2 * _SIZE**3 / _seconds_each(run)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return max(1, num_cores() // num_processes_here()) * _UTILISATION * 2 * _SIZE**3 / _seconds_each(run)
    finally:
        torch.set_num_threads(threads)


def memory_rate(device: str) -> float:
    """Bytes a second that a device reads from its own memory, measured."""
    data = torch.ones(_MEMORY_BYTES // 4, device=device)

    def run(times: int) -> float:
        for _ in range(times):
            total = data.sum()
        return float(total)  # waits for the device

    return _MEMORY_BYTES / _seconds_each(run)


def copy_rate(device: str) -> float:
    """Bytes a second from pinned host memory to a GPU, measured."""
    source = torch.ones(_MEMORY_BYTES // 4, pin_memory=True)
    target = torch.empty_like(source, device=device)

    def run(times: int) -> float:
        for _ in range(times):
            target.copy_(source, non_blocking=True)
        return float(target[0])  # waits for the device

    return _MEMORY_BYTES / _seconds_each(run)
