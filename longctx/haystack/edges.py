"""Edges of a directed graph whose nodes have names like hashes. Filler of graph_walk.

The graph that the task hides and the one here have no node in common: the digits of a node that is kept for the
task have an odd sum, those of all others an even one. Nobody sees that by looking.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

# Names have 6 to 9 or 6 to 20 digits, so the longest edges are more than twice as long as the shortest: one or two of
# them fill what is left of a document exactly, with any tokenizer.
_MIN_DIGITS, _MAX_DIGITS = 6, (9, 20)
_RECENT = 64
_NEW_SHARE = 0.4


def edge(start: str, end: str) -> str:
    return f"Edge {start} -> {end}."


def draw_node(rng: random.Random, *, reserved: bool) -> str:
    """A node's name of 6 to 20 hexadecimal digits; `reserved` for those that only the task uses."""
    size = rng.randint(_MIN_DIGITS, rng.choice(_MAX_DIGITS)) - 1
    first = f"{rng.getrandbits(4 * size):0{size}x}"
    odd = sum(int(digit, 16) for digit in first) % 2
    return f"{first}{2 * rng.randrange(8) + (odd ^ reserved):x}"


def edges(seed: int) -> Iterator[str]:
    """Edges for `seed`, without end; none comes twice. Most lead to or from a node of a few edges before."""
    rng = random.Random(seed)
    recent = [draw_node(rng, reserved=False)]
    told: set[tuple[str, str]] = set()

    def node() -> str:
        if rng.random() > _NEW_SHARE:
            return rng.choice(recent)
        recent.append(draw_node(rng, reserved=False))
        del recent[:-_RECENT]
        return recent[-1]

    while True:
        ends = (node(), node())
        if ends[0] != ends[1] and ends not in told:
            told.add(ends)
            yield edge(*ends)
