"""Small runs to draw reports of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rows import make_row

from longctx.records import Row
from longctx.report.summary import Summary, summarise
from longctx.store import RunFolder

TASK = "niah_single:digits=7:max_new_tokens=16"
LENGTHS, DEPTHS, TRIALS = [1024, 2048, 4096], [0.0, 0.5, 1.0], 3

HOSTILE = ' <script>alert("x")</script> `|*'
WRONG = {"score": 0.0, "answer": HOSTILE, "near_miss": False, "target_logprob": -8.0}
FAILED = {"status": "oom", "score": None, "near_miss": None, "answer": "", "error": "OutOfMemoryError: <big>"}


def identity(**changes: Any) -> dict[str, Any]:
    """A run's config, with `changes`, and its model."""
    config = {
        "model": "m",
        "task": [TASK],
        "lengths": LENGTHS,
        "depths": DEPTHS,
        "trials": TRIALS,
        "design": "isolated",
        "template": "chat",
        "haystack": "narrator",
        "beyond_window": True,
    }
    return {"config": config | changes, "model": {"name": "a <b>model</b>", "window": 2048, "weights": "abc"}}


def grid(
    special: dict[tuple[int, float, int], dict[str, Any]] | None = None,
    lengths: Iterable[int] = LENGTHS,
    depths: Iterable[float] = DEPTHS,
    trials: int = TRIALS,
    **common: Any,
) -> list[Row]:
    """All rows of a grid, right but for the changes of `special`, by length, depth and trial."""
    depths = list(depths)
    return [
        make_row(
            **{
                "sample_id": f"{length}/{depth}/{trial}",
                "length": length,
                "depth": depth,
                "trial": trial,
                "beyond_window": length > 2048,
                "targets": (f"{1_000_000 + 1000 * trial + int(100 * depth)}",),
                **common,
                **(special or {}).get((length, depth, trial), {}),
            }
        )
        for length in lengths
        for depth in depths
        for trial in range(trials)
    ]


ROWS = grid({(2048, 0.0, 0): WRONG, (2048, 0.0, 1): WRONG, (2048, 0.5, 0): WRONG, (4096, 1.0, 2): FAILED})


def make_summary(rows: list[Row] = ROWS, **changes: Any) -> Summary:
    """The summary of these rows; `changes` are of the config."""
    return summarise({**identity(**changes), "schema_version": 1, "starts": [{"started": "2026-01-01"}]}, rows)


def write_run(folder: Path, rows: list[Row] = ROWS, **changes: Any) -> Path:
    """A run folder with these rows."""
    with RunFolder(folder, identity(**changes), {"started": "2026-01-01"}) as run:
        for row in rows:
            run.append(row)
    return folder
