"""What the intervals cover, on simulated models whose truth is known; and what an adaptive sweep saves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from simulated_models import KINDS, SPREADS, SimulatedModel, draw_model

from longctx import environment
from longctx.files import write_atomically
from longctx.statistics import RULES, EffectiveLength, Scores, effective_lengths, estimate_means, length_differences
from longctx.statistics.curve import CurveFamily, FittedCurve, Outcome, curve_family
from longctx.statistics.placement import next_place
from longctx.statistics.rules import RULER_THRESHOLD

LENGTHS = tuple(1024 * 2**i for i in range(8))
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_TRIALS = (3, 5, 10, 20, 40)
_MEANS_EVERY = 5
"""Of so many sweeps one has its means and differences looked at too."""
_GRID_TRIALS = 20
_SHARE = 0.25
# A dense model of 8B parameters: 32 layers of 32 heads with 128 numbers each.
_FLOPS = np.array([len(DEPTHS) * (16e9 * n + 32 * 2 * 32 * 256 * n * n / 2) for n in LENGTHS])


def num_lengths(length: int | None) -> int:
    """How many lengths pass, of an effective length."""
    return 0 if length is None else LENGTHS.index(length) + 1


def covers(found: EffectiveLength, model: SimulatedModel) -> bool:
    return num_lengths(found.low) <= model.num_passing(found.rule) <= num_lengths(found.high)


def width(found: EffectiveLength) -> int:
    """In tested lengths; 0 for an interval of one answer."""
    return num_lengths(found.high) - num_lengths(found.low)


def cells(num_sweeps: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Wilson intervals of single cells: in each sweep 40 cells, true accuracies uniform from 0 to 1."""
    from statsmodels.stats.proportion import proportion_confint

    each = num_sweeps // len(_TRIALS)
    for num in _TRIALS:
        truth = rng.random((each, len(LENGTHS) * len(DEPTHS)))
        low, high = proportion_confint(rng.binomial(num, truth), num, 0.05, method="wilson")
        held = (low <= truth) & (truth <= high)
        near = truth > 0.9
        yield {"n": num, "sweeps": each, "covered": share(held), "covered_above_90_percent": share(held[near])}


def share(held: Any) -> str:
    return f"{np.mean(held):.1%}"


@dataclass(frozen=True, slots=True)
class Look:
    """What was found of one simulated sweep."""

    model: SimulatedModel
    num_trials: int
    effective: tuple[EffectiveLength, ...]
    means: tuple[bool, ...] = ()
    """Whether each length's interval holds its true accuracy."""
    differences: tuple[bool, ...] = ()
    independent: tuple[bool, ...] = ()
    """The same of Wilson's interval, as if samples were independent."""


def look(model: SimulatedModel, num_trials: int, with_means: bool, rng: np.random.Generator) -> Look:
    scores = Scores(LENGTHS, DEPTHS, model.answers(num_trials, rng))
    effective = effective_lengths(scores)
    if not with_means:
        return Look(model, num_trials, effective)
    truth = model.truth.mean(1)
    means = [e.interval for e in estimate_means(scores.values) if e is not None]
    gaps = [d.estimate.interval for d in length_differences(scores)]
    return Look(
        model,
        num_trials,
        effective,
        tuple(i.low <= p <= i.high for i, p in zip(means, truth, strict=True)),
        tuple(i.low <= p <= i.high for i, p in zip(gaps, truth[1:] - truth[0], strict=True)),
        tuple(as_if_independent(scores, truth)),
    )


def as_if_independent(scores: Scores, truth: Any) -> list[bool]:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(scores.values.sum((0, 2)), scores.num_samples, 0.05, method="wilson")
    return list((low <= truth) & (truth <= high))


def sweeps(num_sweeps: int, kinds: tuple[str, ...], rng: np.random.Generator) -> list[Look]:
    """Simulated sweeps: trials, kinds and what a trial shares in turn or by chance."""
    looks = []
    for i in range(num_sweeps):
        model = draw_model(kinds[i % len(kinds)], len(LENGTHS), len(DEPTHS), rng)
        num_trials = _TRIALS[i // len(kinds) % len(_TRIALS)]
        looks.append(look(model, num_trials, i // (len(kinds) * len(_TRIALS)) % _MEANS_EVERY == 0, rng))
    return looks


def summary(name: str, looks: list[Look]) -> dict[str, Any]:
    rules = {}
    for i, rule in enumerate(RULES):
        rules[rule] = share([covers(one.effective[i], one.model) for one in looks])
        rules[f"{rule}_width"] = f"{np.mean([width(one.effective[i]) for one in looks]):.2f}"
    parts = {
        part: share([held for one in looks for held in getattr(one, part)])
        for part in ("means", "independent", "differences")
    }
    return {"of": name, "sweeps": len(looks), **parts, **rules}


def coverage(num_sweeps: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    looks = sweeps(num_sweeps, KINDS, rng)
    rows = [summary("all", looks)]
    rows += [summary(f"{n} trials", [one for one in looks if one.num_trials == n]) for n in _TRIALS]
    rows += [summary(kind, [one for one in looks if one.model.kind == kind]) for kind in KINDS]
    rows += [summary(f"spread {s:g}", [one for one in looks if one.model.spread == s]) for s in SPREADS]
    return [*rows, summary("close to the threshold", sweeps(num_sweeps // 10, ("close",), rng))]


def adapt(family: CurveFamily, answers: Any, budget: float) -> tuple[FittedCurve, float]:
    """The fit of an adaptive sweep over a grid's answers, and what it spent."""
    asked = np.zeros((len(LENGTHS), _GRID_TRIALS), dtype=bool)
    costs = np.repeat(_FLOPS[:, None], _GRID_TRIALS, axis=1)
    outcomes: dict[Outcome, int] = {}
    every = np.ones(len(LENGTHS), dtype=bool)
    while not isinstance(
        place := next_place(family, outcomes, asked, every, costs, budget - float(costs[asked].sum())), str
    ):
        asked[place.length, place.trial] = True
        right = int(answers[place.trial, place.length].sum())
        key = (place.length, len(DEPTHS), right)
        outcomes[key] = outcomes.get(key, 0) + 1
    return family.fit(outcomes), float(costs[asked].sum())


def adaptive(num_models: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Against the whole grid of 20 trials, on the same answers."""
    family = curve_family(LENGTHS, RULES["ruler"], len(DEPTHS))
    total, found = _GRID_TRIALS * float(_FLOPS.sum()), []
    for i in range(num_models):
        model = draw_model(KINDS[i % len(KINDS)], len(LENGTHS), len(DEPTHS), rng)
        answers = model.answers(_GRID_TRIALS, rng)
        curve, spent = adapt(family, answers, _SHARE * total)
        (grid,) = effective_lengths(Scores(LENGTHS, DEPTHS, answers), [family.rule])
        found.append((model.kind, covers(curve.effective, model), width(curve.effective), spent / total, width(grid)))
    rows = []
    for kind in ("all", *KINDS):
        part = [one for one in found if kind in ("all", one[0])]
        _, held, widths, spent_shares, grid_widths = zip(*part, strict=True)
        rows.append(
            {
                "of": kind,
                "models": len(part),
                "covered": share(held),
                "width": f"{np.mean(widths):.2f}",
                "grid_width": f"{np.mean(grid_widths):.2f}",
                "of_the_grid's_FLOPs": share(spent_shares),
                "at_most": f"{max(spent_shares):.1%}",
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    heads = list(rows[0])
    lines = [f"| {' | '.join(head.replace('_', ' ') for head in heads)} |", "|:--|" + "--:|" * (len(heads) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(str(row[head]) for head in heads)} |" for row in rows)])


_NOTES = f"""
Lengths 1k to 128k, doubling, five depths. *Cells*: Wilson, coverage oscillates with accuracy and n. *Sweeps*: `means`
are accuracies of lengths with the bootstrap's interval, `independent` the same by Wilson's as if a trial's samples were
independent, `differences` each length against the shortest in pairs, on one sweep of {_MEANS_EVERY}; then effective
lengths by rule, with the mean width of the interval in tested lengths (0: one answer). Spread: standard deviation, in
logits, of what a trial adds to all its samples, by chance one of {", ".join(map(str, SPREADS))}. Depths differ by 0.3
logits. True accuracies are mostly near 0 or 1, where discrete intervals cover more than they say; *close* models are
flat and within three points of {RULER_THRESHOLD:.1%}, the worst case: the upper end is wrong if any length is unlucky.
*Adaptive*: up to {_GRID_TRIALS} trials a length, and {_SHARE:.0%} of the grid's operations, of a dense model of 8B
parameters; on the same answers as the grid. The simulated models are not of the fitted family, but not far from it.
"""


@click.command()
@click.option("--sweeps", "num_sweeps", default=20_000, show_default=True)
@click.option("--models", "num_models", default=200, show_default=True, help="Of the adaptive sweeps.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for bench-statistics.md and .json.")
def main(num_sweeps: int, num_models: int, seed: int, out: Path | None) -> None:
    """Simulate sweeps and count how often their intervals hold the truth."""
    record: dict[str, Any] = {
        "date": environment.utc_now(),
        "code": environment.code_version(),
        "packages": environment.packages(),
        "seed": seed,
    }
    text = "# What the intervals cover\n"
    parts: dict[str, Callable[[np.random.Generator], list[dict[str, Any]]]] = {
        "cells": lambda rng: list(cells(num_sweeps, rng)),
        "sweeps": lambda rng: coverage(num_sweeps, rng),
        "adaptive": lambda rng: adaptive(num_models, rng),
    }
    for number, (name, run) in enumerate(parts.items()):
        record[name] = run(np.random.default_rng([seed, number]))
        text += f"\n## {name}\n\n{table(record[name])}\n"
        click.echo(table(record[name]))
    text += f"{_NOTES}\n{record['date'][:10]}; `scripts/bench-statistics --seed {seed}`.\n"
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "bench-statistics.json", json.dumps(record, indent=2).encode() + b"\n")
        write_atomically(out / "bench-statistics.md", text.encode())


if __name__ == "__main__":
    main()
