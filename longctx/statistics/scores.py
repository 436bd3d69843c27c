"""One task's scores on the grid of a sweep: what every figure over several cells is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from longctx.records import Row

Measure = Literal["right", "score", "strict"]
"""right: 1.0 for a perfect score, else 0.0; score: the task's own, maybe partial; strict: by our stricter rule."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """All samples of one task, trial by trial. Lengths ascend; a trial is a cluster."""

    lengths: tuple[int, ...]
    depths: tuple[float, ...]
    values: NDArray[np.float64]
    """0 to 1, shape (num_trials, num_lengths, num_depths); NaN where a sample failed or was not run."""

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.shape[1:] != (len(self.lengths), len(self.depths)):
            raise ValueError(f"scores of shape {self.values.shape} for {len(self.lengths)} lengths")
        if list(self.lengths) != sorted(set(self.lengths)):
            raise ValueError(f"lengths {self.lengths} do not ascend")

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Row],
        lengths: Sequence[int],
        depths: Sequence[float],
        num_trials: int,
        measure: Measure = "right",
    ) -> Scores:
        """The scores of one task's rows; controls are left out. Raises ValueError for a row that is not on the grid."""
        ordered = tuple(sorted(lengths))
        at_length = {length: i for i, length in enumerate(ordered)}
        at_depth = {depth: i for i, depth in enumerate(depths)}
        values = np.full((num_trials, len(ordered), len(depths)), np.nan)
        for row in rows:
            if row.control is not None:
                continue
            if row.length not in at_length or row.depth not in at_depth or not row.trial < num_trials:
                raise ValueError(f"length {row.length}, depth {row.depth}, trial {row.trial} is not on the grid")
            values[row.trial, at_length[row.length], at_depth[row.depth]] = _value(row, measure)
        return cls(ordered, tuple(depths), values)

    @property
    def num_trials(self) -> int:
        return len(self.values)

    @property
    def num_samples(self) -> int:
        """That a length would have if all were scored."""
        return self.num_trials * len(self.depths)


def _value(row: Row, measure: Measure) -> float:
    if row.score is None:
        return float("nan")
    if measure == "strict":
        return float("nan") if row.strict_score is None else row.strict_score
    return row.score if measure == "score" else float(row.score == 1.0)
