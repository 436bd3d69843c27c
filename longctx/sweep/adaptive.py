"""A sweep that chooses its next documents: where an answer tells most about the effective length, for what it costs.

Rows decide alone: what comes next is a function of what was answered, so a stopped sweep goes on as if it had not been.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from longctx.backends.base import Backend
from longctx.config import SweepConfig
from longctx.engine.cost import ModelShape
from longctx.errors import ConfigError
from longctx.records import Row, Sample
from longctx.statistics.curve import CurveFamily, FittedCurve, count_outcomes, curve_family
from longctx.statistics.placement import Stop, next_place
from longctx.statistics.rules import RULES
from longctx.statistics.scores import Scores
from longctx.store import RunFolder
from longctx.sweep.plan import sample_cost
from longctx.sweep.run import missing, run_samples

DEFAULT_SHARE = 0.25
"""Of what the whole grid would take."""
_SECONDS = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Budget:
    """What an adaptive sweep may take, all its starts together; None for a quarter of the grid."""

    flops: float | None = None
    seconds: float | None = None

    def at(self, rate: float, grid_flops: float) -> float:
        """Floating-point operations, at `rate` of them a second."""
        if self.flops is not None:
            return self.flops
        return DEFAULT_SHARE * grid_flops if self.seconds is None else self.seconds * rate


def parse_budget(text: str | None) -> Budget:
    """`1e18FLOP`, `2h`, `30min`, `90s`; None for the default. Raises ConfigError."""
    if text is None:
        return Budget()
    match = re.fullmatch(r"([0-9.]+(?:e\+?[0-9]+)?)\s*(flop|s|min|h)", text.strip().lower())
    try:
        amount = float(match[1]) if match else 0.0
    except ValueError:
        amount = 0.0
    if match is None or not 0.0 < amount < float("inf"):
        raise ConfigError(f"{text!r} is not a budget: write 1e18FLOP, 2h, 30min or 90s.")
    return Budget(flops=amount) if match[2] == "flop" else Budget(seconds=amount * _SECONDS[match[2]])


@dataclass(frozen=True, slots=True)
class Step:
    """One trial at one length: a document for each depth."""

    length: int
    trial: int
    samples: tuple[Sample, ...]
    flops: int


@dataclass(frozen=True, slots=True)
class AdaptiveDesign:
    """All that may be asked, and what the choice follows."""

    family: CurveFamily
    depths: tuple[float, ...]
    steps: tuple[Step, ...]
    """Every trial at every length, by length and then trial."""
    budget_flops: float

    @property
    def grid_flops(self) -> int:
        """Of asking everything."""
        return sum(step.flops for step in self.steps)

    def spent(self, rows: Iterable[Row]) -> int:
        """Of the steps that were begun."""
        asked = {row.sample_id for row in rows}
        return sum(step.flops for step in self.steps if any(s.id in asked for s in step.samples))

    def left(self, rows: Iterable[Row]) -> int:
        """Of the budget."""
        return max(0, int(self.budget_flops) - self.spent(rows))

    def goes_on(self, rows: Sequence[Row]) -> bool:
        """Whether there is a next step."""
        return isinstance(self.next(rows), Step)

    def next(self, rows: Sequence[Row]) -> Step | Stop:
        """What to ask after these rows: a begun step first, else the most information per operation; or why to stop.

        A length of which a whole trial failed is not chosen again.
        """
        asked = {row.sample_id for row in rows}
        begun = [step for step in self.steps if any(s.id in asked for s in step.samples)]
        for step in begun:
            if not all(s.id in asked for s in step.samples):
                return step
        shape = (len(self.family.lengths), -1)
        was_begun = np.array([any(s.id in asked for s in step.samples) for step in self.steps]).reshape(shape)
        scored = {row.sample_id for row in rows if row.status == "ok"}
        failed = {step.length for step in begun if not any(s.id in scored for s in step.samples)}
        place = next_place(
            self.family,
            count_outcomes(self._scores(rows)),
            was_begun,
            np.array([length not in failed for length in self.family.lengths]),
            np.array([float(step.flops) for step in self.steps]).reshape(shape),
            self.left(rows),
        )
        if isinstance(place, str):
            return place
        return self.steps[place.length * was_begun.shape[1] + place.trial]

    def fit(self, rows: Sequence[Row]) -> FittedCurve:
        """The curve that the rows speak for."""
        return self.family.fit(count_outcomes(self._scores(rows)))

    def _scores(self, rows: Sequence[Row]) -> Scores:
        num_trials = len(self.steps) // len(self.family.lengths)
        return Scores.from_rows(rows, self.family.lengths, self.depths, num_trials)


def make_design(
    samples: Sequence[Sample], config: SweepConfig, shape: ModelShape, budget: Budget, rate: float
) -> AdaptiveDesign:
    """The design over a plan's samples of a resolved `config`; raises ConfigError if they cannot be chosen from."""
    family = curve_family(config.lengths, RULES[config.rule], len(config.depths))
    groups: dict[tuple[int, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.control is None:
            groups[sample.cell.length, sample.cell.trial].append(sample)
    steps = tuple(
        Step(length, trial, tuple(group), sample_cost(group, config.chunk, shape).flops)
        for (length, trial), group in sorted(groups.items())
    )
    if len(steps) != len(config.lengths) * config.trials:
        raise ConfigError("An adaptive sweep needs as many trials at every length.")
    design = AdaptiveDesign(family, config.depths, steps, 0.0)
    flops = min(budget.at(rate, design.grid_flops), design.grid_flops)
    cheapest = min(step.flops for step in steps)
    if flops < cheapest:
        raise ConfigError(f"The budget is {flops:.3g} FLOP; one trial at the shortest length takes {cheapest:.3g}.")
    return AdaptiveDesign(family, config.depths, steps, flops)


def to_ask_first(samples: Sequence[Sample], rows: Sequence[Row]) -> list[Sample]:
    """Controls that have no score yet, and what was asked and failed."""
    asked = {row.sample_id for row in rows}
    return [sample for sample in missing(samples, rows) if sample.control is not None or sample.id in asked]


def run_adaptive(
    design: AdaptiveDesign,
    first: Sequence[Sample],
    config: SweepConfig,
    window: int,
    backend: Backend,
    folder: RunFolder,
    rows: Sequence[Row],
    on_row: Callable[[Row], None],
    on_progress: Callable[[int], None],
    decode: Callable[[list[int]], str] | None = None,
) -> Stop:
    """Answer `first` as `to_ask_first` has it, then step after step; `rows` are those of earlier starts.

    Returns why it stopped; raises as `run_samples`.
    """
    known = {row.sample_id: row for row in rows}

    def keep(row: Row) -> None:
        known[row.sample_id] = row
        on_row(row)

    if first:
        run_samples(first, config, window, backend, folder, keep, on_progress, decode)
    while not isinstance(step := design.next(list(known.values())), str):
        todo = [sample for sample in missing(step.samples, known.values()) if sample.id not in known]
        run_samples(todo, config, window, backend, folder, keep, on_progress, decode)
    return step
