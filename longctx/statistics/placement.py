"""Where the next trial of an adaptive sweep goes: the most expected information about the effective length per cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from longctx.statistics.curve import CurveFamily, Outcome

CERTAIN = 0.98
"""A sweep stops when one effective length is as probable as this."""

Stop = Literal["decided", "budget", "exhausted"]


@dataclass(frozen=True, slots=True)
class Place:
    """Indices into the family's lengths, and of a trial."""

    length: int
    trial: int


def next_place(
    family: CurveFamily,
    outcomes: Mapping[Outcome, int],
    asked: NDArray[np.bool_],
    open_lengths: NDArray[np.bool_],
    costs: NDArray[np.float64],
    left: float,
) -> Place | Stop:
    """One trial at one length, or why there is none.

    `asked` and `costs` have shape (num_lengths, num_trials), costs in the unit of `left`, and `open_lengths` are those
    that may be chosen. Of a length's trials the one that the fewest other lengths have had comes first: a trial's
    answers are alike across lengths too, and the curve takes them as independent.
    """
    weight = family.posterior(outcomes)
    if family.probabilities(weight).max() >= CERTAIN:
        return "decided"
    fresh = ~asked & open_lengths[:, None]
    if not fresh.any():
        return "exhausted"
    affordable = fresh & (costs <= left)
    if not affordable.any():
        return "budget"
    gains = family.gains(weight)
    usage = np.where(affordable, asked.sum(0), np.iinfo(np.int64).max)
    trials = usage.argmin(1)
    every = np.arange(len(gains))
    worth = np.where(affordable.any(1), gains / costs[every, trials], -np.inf)
    length = int(worth.argmax())
    return Place(length, int(trials[length]))
