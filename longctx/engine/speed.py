"""How fast this machine multiplies, for time estimates."""

from __future__ import annotations

import time

import torch

# Share of the plain matrix product's rate that a whole prefill reaches; the rest goes to attention's
# smaller products, to norms and activations, and to decoding the wrong answers.
_UTILISATION = 0.6
_SIZE = 1024
_MIN_SECONDS = 0.2


def prefill_rate(dtype: str, device: str) -> float:
    """Floating-point operations a second to expect: a measured matrix product times _UTILISATION."""
    left, right = (torch.randn(_SIZE, _SIZE, dtype=getattr(torch, dtype), device=device) for _ in range(2))

    def run(times: int) -> float:
        for _ in range(times):
            product = left @ right
        return float(product[0, 0])  # waits for the device

    run(2)
    times, seconds = 1, 0.0
    while seconds < _MIN_SECONDS:
        times *= 2
        start = time.perf_counter()
        run(times)
        seconds = time.perf_counter() - start
    return _UTILISATION * times * 2 * _SIZE**3 / seconds
