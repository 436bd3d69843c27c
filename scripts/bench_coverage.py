"""Whether the report's 95 % intervals hold the truth as often as they say, for phantoms that answer a known share.

At the level of rows, without a model: the task draws its items as in a sweep, the design says which of them are
answered (that models answer just those is what `longctx calibrate` tests), and the report's own summary makes the
intervals. 400 sweeps for each share and number of samples; beside the simulation stands the binomial sum.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from longctx.files import write_atomically
from longctx.phantom.design import Design
from longctx.phantom.keys import draw_muted, share_answered
from longctx.records import Row
from longctx.report.summary import summarise
from longctx.statistics import Interval, wilson
from longctx.tasks import parse_task
from longctx.tasks.base import NeedleTask

_DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_LENGTH = 4096
_TASK = "niah_single"


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often the interval of one length held the designed share."""

    share: float
    num_samples: int
    num_sweeps: int
    num_held: int
    binomial: float
    """The same by summing over all numbers of right answers."""

    @property
    def simulated(self) -> float:
        return self.num_held / self.num_sweeps


def sweep_rows(design: Design, seed: int, trials: int) -> list[Row]:
    """The rows of one length of one sweep."""
    task = parse_task(_TASK)
    assert isinstance(task, NeedleTask)
    rows = []
    for trial in range(trials):
        for depth in _DEPTHS:
            item = task.item(random.Random(f"{seed}/{trial}/{depth}"), depth)
            key = item.answer_prefix.split(" for ")[1].removesuffix(" is")
            said = design.says(key, item.targets[0])
            score = task.score(said, item.targets).value
            rows.append(_row(f"{trial}/{depth}", depth, trial, item.targets, said, score))
    return rows


def _row(name: str, depth: float, trial: int, targets: tuple[str, ...], answer: str, score: float) -> Row:
    return Row(
        sample_id=name,
        task=_TASK,
        design="isolated",
        length=_LENGTH,
        depth=depth,
        trial=trial,
        status="ok",
        score=score,
        near_miss=False,
        targets=targets,
        answer=answer,
        error=None,
        beyond_window=False,
        needle_position=0,
        needle_depth=depth,
        num_prompt_tokens=_LENGTH,
        max_new_tokens=16,
        num_completion_tokens=8,
        num_prefilled_tokens=_LENGTH,
        num_prefilled_prefix_tokens=_LENGTH,
        target_logprob=None,
        seconds=0.0,
        finished="",
    )


def reported_interval(rows: Sequence[Row], trials: int) -> Interval:
    """What the report shows for the length."""
    config = {"lengths": [_LENGTH], "depths": list(_DEPTHS), "task": [_TASK], "trials": trials, "design": "isolated"}
    summary = summarise({"config": config, "model": {"name": "phantom", "window": _LENGTH}}, rows)
    interval = summary.tasks[0].points[0].interval
    assert interval is not None
    return interval


def binomial_coverage(share: float, num: int) -> float:
    """The probability that Wilson's interval of `num` samples holds `share`."""
    total = 0.0
    for right in range(num + 1):
        interval = wilson(right, num)
        if interval.low <= share <= interval.high:
            total += math.comb(num, right) * share**right * (1 - share) ** (num - right)
    return total


def measure(share: float, trials: int, num_sweeps: int) -> Coverage:
    """Run `num_sweeps` sweeps of a phantom that answers about this share."""
    muted = draw_muted(share)
    design, designed = Design(2**20, muted=muted), share_answered(muted)
    held = 0
    for seed in range(num_sweeps):
        interval = reported_interval(sweep_rows(design, seed, trials), trials)
        held += interval.low <= designed <= interval.high
    num = trials * len(_DEPTHS)
    return Coverage(designed, num, num_sweeps, held, binomial_coverage(designed, num))


def to_markdown(found: Sequence[Coverage], command: str) -> str:
    """A table with what it means."""
    lines = [
        "# How often 95 % intervals hold the truth",
        "",
        f"`{command}`: rows of phantoms that answer a designed share of keys, simulated (no model runs), through the",
        "report's own summary. With 400 sweeps a share is itself uncertain by 2 points on either side.",
        "",
        "| designed share | samples at a length | sweeps | interval held it | by the binomial sum |",
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
