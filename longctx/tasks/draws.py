"""Draws that tasks have in common. The order of what is drawn decides what every seed gives."""

from __future__ import annotations

import random
from collections.abc import Callable


def depths_around(rng: random.Random, depth: float, num_before: int, num_after: int) -> list[float]:
    """Depths in order: some before `depth`, itself, and some behind it."""
    before = sorted(rng.uniform(0.0, depth) for _ in range(num_before))
    after = sorted(rng.uniform(depth, 1.0) for _ in range(num_after))
    return [*before, depth, *after]


def draw_different(count: int, draw: Callable[[], str]) -> list[str]:
    """`count` texts, no two the same; there have to be as many."""
    found: list[str] = []
    while len(found) < count:
        text = draw()
        if text not in found:
            found.append(text)
    return found
