"""Lengths and depths that put needles on both sides of every edge of a design."""

from __future__ import annotations

from collections.abc import Sequence

from longctx.phantom.design import Design

# On either side of an edge, outside of where nothing is promised.
_SIDES = (0.955, 1.045)
_FRAME_TOKENS = 92
"""Of template, question, needle and room, which no depth is counted in."""
_NEAR_TOKENS = 40
"""From the end of the document's last needle to the end of the prompt."""


def pair_around(edge: int, depth: float) -> tuple[int, int]:
    """Two context lengths in tokens that put a needle at `depth` just before the edge and just after it.

    `depth` is less than 1: from the end every needle is near.
    """
    before, after = (round((edge * side - _NEAR_TOKENS) / (1 - depth)) + _FRAME_TOKENS for side in _SIDES)
    return before, after


def lengths_around(design: Design, depths: Sequence[float], shortest: int, longest: int) -> tuple[int, ...]:
    """Context lengths in tokens, ascending, up to `longest`.

    At each depth that reaches an edge within `longest` two lengths put the needle just before it and just after;
    `shortest`, and three times the last edge or what of it fits, stand for what is far from every edge.
    """
    edges = design.edges or ((design.chunk,) if design.chunk else ())
    found = {shortest}
    for edge in edges:
        for depth in (depth for depth in depths if depth < 1.0):
            pair = pair_around(edge, depth)
            found.update(pair if pair[-1] <= longest else ())
    found.add(min(longest, 3 * edges[-1] if edges else longest))
    return tuple(sorted(length for length in found if shortest <= length <= longest))
