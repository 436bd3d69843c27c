"""Whether the reports' 95 % intervals of cells hold the truth as often as they say, for phantoms of a known share.

At the level of rows, without a model: the task draws its items as in a sweep, the design says which of them are
answered (that models answer just those is what `longctx calibrate` tests), and the interval is the one that reports
show for a cell of so many samples. 400 sweeps for each share and number; beside the simulation stands the binomial sum.
Intervals over several cells are measured by scripts/bench-statistics.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

from longctx.files import write_atomically
from longctx.phantom.design import Design
from longctx.phantom.keys import draw_muted, share_answered
from longctx.statistics import Interval, LengthResult
from longctx.tasks import parse_task
from longctx.tasks.base import NeedleTask

_DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_LENGTH = 4096
_TASK = "niah_single"


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often the interval of one cell held the designed share."""

    share: float
    num_samples: int
    num_sweeps: int
    num_held: int
    binomial: float
    """The same by summing over all numbers of right answers."""

    @property
    def simulated(self) -> float:
        return self.num_held / self.num_sweeps


def sweep(design: Design, seed: int, trials: int) -> LengthResult:
    """The samples of one cell of one sweep, counted as the report counts them."""
    task = parse_task(_TASK)
    assert isinstance(task, NeedleTask)
    num_right = 0
    for trial, depth in itertools.product(range(trials), _DEPTHS):
        item = task.item(random.Random(f"{seed}/{trial}/{depth}"), depth)
        key = item.answer_prefix.split(" for ")[1].removesuffix(" is")
        num_right += task.score(design.says(key, item.targets[0]), item.targets).value == 1.0
    return LengthResult(_LENGTH, num_right, trials * len(_DEPTHS))


@cache
def interval(num_right: int, num: int) -> Interval:
    found = LengthResult(_LENGTH, num_right, num).interval()
    assert found is not None
    return found


def binomial_coverage(share: float, num: int) -> float:
    """The probability that the interval of `num` samples holds `share`."""
    total = 0.0
    for right in range(num + 1):
        if interval(right, num).low <= share <= interval(right, num).high:
            total += math.comb(num, right) * share**right * (1 - share) ** (num - right)
    return total


def measure(share: float, trials: int, num_sweeps: int) -> Coverage:
    """Run `num_sweeps` sweeps of a phantom that answers about this share."""
    muted = draw_muted(share)
    design, designed = Design(2**20, muted=muted), share_answered(muted)
    held = 0
    for seed in range(num_sweeps):
        result = sweep(design, seed, trials)
        shown = interval(result.num_right, result.num_scored)
        held += shown.low <= designed <= shown.high
    num = trials * len(_DEPTHS)
    return Coverage(designed, num, num_sweeps, held, binomial_coverage(designed, num))


def to_markdown(found: Sequence[Coverage], command: str) -> str:
    """A table with what it means."""
    lines = [
        "# How often 95 % intervals hold the truth",
        "",
        f"`{command}`: rows of phantoms that answer a designed share of keys, simulated: the task's own draws,",
        "its scorer and the interval that reports show for a cell; no model runs. Of 400 sweeps a share is known to 2",
        "points.",
        "",
        "| designed share | samples | sweeps | interval held it | by the binomial sum |",
        "|--:|--:|--:|--:|--:|",
    ]
    for one in found:
        lines.append(
            f"| {one.share:.1%} | {one.num_samples} | {one.num_sweeps} | {one.simulated:.1%} | {one.binomial:.1%} |"
        )
    held, all_sweeps = sum(one.num_held for one in found), sum(one.num_sweeps for one in found)
    lines += [
        "",
        f"All together: {held:,} of {all_sweeps:,} intervals held the designed share ({held / all_sweeps:.1%}).",
    ]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("reports/bench-coverage"), show_default=True)
@click.option("--sweeps", default=400, show_default=True)
def main(out: Path, sweeps: int) -> None:
    found = [measure(share, trials, sweeps) for share in (0.5, 0.8, 0.9) for trials in (3, 10, 20)]
    out.mkdir(parents=True, exist_ok=True)
    page = to_markdown(found, "scripts/bench-coverage")
    values = [{name: getattr(one, name) for name in Coverage.__slots__} for one in found]
    write_atomically(out / "bench-coverage.md", page.encode())
    write_atomically(out / "bench-coverage.json", json.dumps(values, indent=1).encode() + b"\n")
    click.echo(page)


if __name__ == "__main__":
    main()
