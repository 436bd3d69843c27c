"""The same questions without the haystack: what a score is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from longctx.records import Control, Row
from longctx.report.cells import Tally, tally

_ABLE = 0.9
SHOWN: dict[Control, str] = {
    "closed_book": "the question alone (closed book)",
    "short": "only what the answer needs (short)",
}


@dataclass(frozen=True, slots=True)
class ControlResult:
    """All samples of one control of a task."""

    control: Control
    counts: Tally
    guess_rate: float
    """What drawing from the closed sets of candidates gives; 0.0 where there is none."""

    @property
    def shown(self) -> str:
        """What the model was shown."""
        return SHOWN[self.control]

    @property
    def warning(self) -> str | None:
        """Why scores of this task are to be read with care; None if they are not."""
        right, scored, interval = self.counts.num_right, self.counts.num_scored, self.counts.interval
        if interval is None:
            return None
        if self.control == "closed_book" and interval.low > self.guess_rate:
            return (
                f"Without the text {right} of {scored} answers are right, more than guessing gives "
                f"({self.guess_rate:.0%}): the scores are not all recall."
            )
        if self.control == "short" and right < _ABLE * scored:
            return (
                f"With nothing but the supporting text {right} of {scored} answers are right: "
                "the model can hardly do the task at all, so its scores say little about length."
            )
        return None


def control_results(rows: Sequence[Row]) -> tuple[ControlResult, ...]:
    """A result for each control that any of one task's control rows is of."""
    results = []
    for control in SHOWN:
        scored = [row for row in rows if row.control == control and row.status == "ok"]
        if scored:
            guess = mean(1 / row.num_candidates if row.num_candidates else 0.0 for row in scored)
            results.append(ControlResult(control, tally(scored), guess))
    return tuple(results)
