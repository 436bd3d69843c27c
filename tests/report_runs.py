"""Small runs to draw reports of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rows import make_row

from longctx.records import Row
from longctx.report.summary import Summary, summarise
from longctx.store import RunFolder
from longctx.tasks.canary import DEPTHS as PLACES

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


SERVED = {"backend": "openai", "base_url": "http://localhost:8000/v1", "api": "chat", "count_tolerance": 0.0}
ACCOUNT = {
    "num_requests": 40,
    "num_prompt_tokens": 50_000,
    "num_completion_tokens": 400,
    "price_in": 2.0,
    "price_out": 4.0,
    "cost": 0.1016,
    "concurrency": 4,
}
OFFSET = 3
"""Tokens that the server adds to every prompt."""
UNSCORED: dict[str, Any] = {"score": None, "near_miss": None, "error": "x"}


def served(row: Row, **changes: Any) -> Row:
    """The same row as a server answers it: the longer and the later the slower."""
    values = {
        "num_prompt_tokens": row.length - 16,
        "server_prompt_tokens": row.length - 16 + OFFSET,
        "cached_prompt_tokens": row.length // 4,
        "ttft_seconds": row.length / 1024 + row.trial / 100,
        "tpot_seconds": 0.008 + row.trial / 1000,
        "server_model": "m-1",
        "server_fingerprint": "fp-a",
        "target_logprob": None,
    }
    return dataclasses.replace(row, **{**values, **changes})


def canaries(length: int, found: Iterable[float] = PLACES, **changes: Any) -> list[Row]:
    """The canaries of one length; `found` are the places whose code the answer says."""
    return [
        served(
            make_row(
                sample_id=f"canary/{length}/{place}",
                length=length,
                depth=place,
                control="canary",
                answer=" 4043756." if place in found else " 1.",
                score=float(place in found),
            ),
            **changes,
        )
        for place in PLACES
    ]


def served_rows() -> list[Row]:
    """Read whole to 2k; at 4k another version answers, which cuts the middle and counts what is left."""
    rows = [served(row) for row in grid(lengths=LENGTHS[:2])]
    cut: dict[str, Any] = {
        "status": "truncated",
        "server_fingerprint": "fp-b",
        "server_prompt_tokens": 2048 + OFFSET,
        **UNSCORED,
    }
    rows += [served(row, **cut) for row in grid(lengths=LENGTHS[2:])]
    silent: dict[str, Any] = {
        "server_prompt_tokens": None,
        "cached_prompt_tokens": None,
        "ttft_seconds": None,
        "tpot_seconds": None,
    }
    silent |= {"server_model": "", "server_fingerprint": "", "status": "too_long", "num_attempts": 2}
    refused = canaries(4113, **silent, **UNSCORED)[2]
    return [*rows, *canaries(1024), *canaries(2048), *canaries(4096, (0.0, 1.0), **cut), refused]


def served_identity() -> dict[str, Any]:
    """The same run of a server."""
    known = identity(**SERVED)
    known["model"]["offset_tokens"] = OFFSET
    return known


def make_served(
    rows: list[Row] | None = None, accounts: Iterable[dict[str, Any]] = (ACCOUNT,), num_killed: int = 0
) -> Summary:
    """The summary of a run of a server, in as many starts as there are accounts, and some that were killed."""
    spent = list(accounts)
    manifest = {**served_identity(), "schema_version": 1, "starts": [{}] * (len(spent) + num_killed), "spent": spent}
    return summarise(manifest, served_rows() if rows is None else rows)
