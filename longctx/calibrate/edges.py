"""Where a phantom was measured to stop seeing, and to begin again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longctx.calibrate.judge import Judged

TOLERANCE = 0.05
# Needles at distances between these multiples of an edge tell where it is.
_NEAR = 1.6


@dataclass(frozen=True, slots=True)
class EdgeResult:
    """One designed edge, in tokens of distance, and between which distances it was found."""

    designed: int
    depth: float | None
    """Of the needles that it was measured with; None for all."""
    before: int | None
    """The farthest needle that was answered as on the near side; None if there was none."""
    after: int | None
    """The nearest one that was answered as on the far side."""

    @property
    def measured(self) -> float | None:
        """Half way between the two; None where one is missing."""
        return None if self.before is None or self.after is None else (self.before + self.after) / 2

    @property
    def is_close(self) -> bool:
        """Whether the needles on its two sides are so near each other that half way between them fits."""
        if self.before is None or self.after is None:
            return False
        return abs(self.after - self.before) <= 2 * TOLERANCE * self.designed

    @property
    def told(self) -> str:
        """Designed and measured, for people."""
        measured = "not measured" if self.measured is None else f"{self.measured:,.0f}"
        return f"{self.designed:,} / {measured}"

    @property
    def contradicts(self) -> bool:
        """Whether a needle farther than the tolerance from the edge was answered as on its other side."""
        too_far = self.before is not None and self.before > (1 + TOLERANCE) * self.designed
        too_near = self.after is not None and self.after < (1 - TOLERANCE) * self.designed
        return too_far or too_near

    @property
    def fits(self) -> bool:
        """Whether it was measured, within the tolerance."""
        if self.measured is None or self.contradicts:
            return False
        return abs(self.measured - self.designed) <= TOLERANCE * self.designed


def measure_edges(edges: Sequence[int], judged: Sequence[Judged]) -> list[EdgeResult]:
    """Every edge, measured with all needles and then with those of each depth."""
    depths = sorted({one.row.depth for one in judged if one.row.control is None})
    return [
        _measure(edges, index, depth, [one for one in judged if depth is None or one.row.depth == depth])
        for index in range(len(edges))
        for depth in (None, *depths)
    ]


def _measure(edges: Sequence[int], index: int, depth: float | None, judged: Sequence[Judged]) -> EdgeResult:
    edge = edges[index]
    # Where edges are close, the half-way distances between them belong to the nearer one.
    low = max(edge / _NEAR, (edges[index - 1] + edge) / 2 if index else 0.0)
    high = min(edge * _NEAR, (edge + edges[index + 1]) / 2 if index + 1 < len(edges) else edge * _NEAR)
    before: list[int] = []
    after: list[int] = []
    for one in judged:
        distance, sees = one.expectation.distance, one.sees
        if distance is None or sees is None or one.row.control is not None or not low <= distance <= high:
            continue
        # The near side of an even edge is seen, that of an odd one is not.
        (before if sees == (index % 2 == 0) else after).append(distance)
    return EdgeResult(edge, depth, max(before, default=None), min(after, default=None))
