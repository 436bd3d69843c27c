"""A report's figures as data: cells as CSV, rows as Parquet, everything as JSON."""

from __future__ import annotations

import dataclasses
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from longctx.addressable import Addressable
from longctx.errors import ConfigError
from longctx.records import Row
from longctx.report.capacity import Capacity
from longctx.report.groups import run_labels
from longctx.report.server import Server, measure
from longctx.report.summary import Summary, TaskSummary

if TYPE_CHECKING:
    import pandas as pd


def cells_frame(summaries: Sequence[Summary]) -> pd.DataFrame:
    """One line for every cell of every run, with n and its Wilson interval; without cells, one for every length."""
    import pandas as pd  # slow to import

    lines: list[dict[str, Any]] = []
    for label, summary in zip(run_labels(summaries), summaries, strict=True):
        for task in summary.tasks:
            served = _served_columns(summary, task)
            lines += [
                {"run": label, "model": summary.model, **line, **served.get((line["length"], line["depth"]), {})}
                for line in _lines(task)
            ]
    return pd.DataFrame(lines)


def _lines(task: TaskSummary) -> list[dict[str, Any]]:
    lines = []
    for cell in task.cells:
        interval = cell.counts.interval
        lines.append(
            {
                "task": task.task,
                "length": cell.length,
                "depth": cell.depth,
                "num_right": cell.counts.num_right,
                "num_scored": cell.counts.num_scored,
                "num_failed": len(cell.failures),
                "num_missing": cell.num_missing,
                "accuracy": cell.counts.accuracy,
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "mean_logprob": cell.mean_logprob,
                "past_window": cell.past_window,
            }
        )
    for point in () if task.cells else task.points:
        result, interval = point.counts, point.interval
        lines.append(
            {
                "task": task.task,
                "length": result.length,
                "depth": None,
                "num_right": result.num_right,
                "num_scored": result.num_scored,
                "num_failed": result.num_failed,
                "accuracy": result.accuracy,
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
            }
        )
    return lines


def _served_columns(summary: Summary, task: TaskSummary) -> dict[tuple[int, float | None], dict[str, Any]]:
    """What a server showed in each cell, by length and depth; empty for a run without one."""
    if summary.server is None:
        return {}
    found: defaultdict[tuple[int, float | None], list[Row]] = defaultdict(list)
    for row in summary.rows:
        if row.task == task.task:
            found[row.length, row.depth].append(row)
    measured = {place: measure(rows, summary.server.offset) for place, rows in found.items()}
    return {
        place: {
            "median_ttft_seconds": one.ttft and one.ttft.median,
            "median_tpot_seconds": one.tpot and one.tpot.median,
            "token_gap_low": one.gap and one.gap.low,
            "token_gap_high": one.gap and one.gap.high,
            "cached_share": one.cached_share,
        }
        for place, one in measured.items()
    }


def rows_frame(summaries: Sequence[Summary]) -> pd.DataFrame:
    """All rows of all runs, those of controls too, with the run's label and model in front."""
    import pandas as pd  # slow to import

    lines = [
        {"run": label, "model": summary.model, **row.to_json()}
        for label, summary in zip(run_labels(summaries), summaries, strict=True)
        for row in (*summary.rows, *summary.controls, *summary.canaries)
    ]
    return pd.DataFrame(lines)


def to_csv(summaries: Sequence[Summary]) -> bytes:
    return cells_frame(summaries).to_csv(index=False, lineterminator="\n").encode()


def to_parquet(summaries: Sequence[Summary]) -> bytes:
    """Raises ConfigError where pyarrow is not installed, or there are no rows."""
    frame = rows_frame(summaries)
    if frame.empty:
        raise ConfigError("There are no rows to write as Parquet.")
    stream = io.BytesIO()
    try:
        frame.to_parquet(stream, engine="pyarrow", index=False)
    except ImportError:
        raise ConfigError("Parquet needs pyarrow: pip install pyarrow, or take --format csv.") from None
    return stream.getvalue()


def to_json(summaries: Sequence[Summary]) -> bytes:
    """What the page says, for programs: verdicts, capacities, results by length, cells and controls of every run."""
    runs = [
        {
            "run": label,
            "model": summary.model,
            "window": summary.window,
            "design": summary.design,
            "num_samples": summary.num_rows,
            "num_expected": summary.num_expected,
            "origin": summary.origin,
            "manifest": summary.manifest,
            "capacities": [_capacity(capacity) for capacity in summary.capacities],
            "addressable": _reach(summary.reach) if summary.reach else None,
            "server": _server(summary.server) if summary.server else None,
            "tasks": [_task(task) for task in summary.tasks],
        }
        for label, summary in zip(run_labels(summaries), summaries, strict=True)
    ]
    return json.dumps({"runs": runs}, indent=1, allow_nan=False).encode() + b"\n"


def _capacity(capacity: Capacity) -> dict[str, Any]:
    return dataclasses.asdict(capacity) | {"text": capacity.label}


def _reach(reach: Addressable) -> dict[str, Any]:
    return {"sentence": reach.sentence} | dataclasses.asdict(reach)


def _server(server: Server) -> dict[str, Any]:
    by_length = [{"length": length, **dataclasses.asdict(found)} for length, found in server.by_length.items()]
    return dataclasses.asdict(server) | {"by_length": by_length, "warning": server.warning}


def _task(task: TaskSummary) -> dict[str, Any]:
    by_length = []
    for point in task.points:
        interval = point.interval
        by_length.append(
            dataclasses.asdict(point.counts)
            | {
                "accuracy": point.accuracy,
                "interval": [interval.low, interval.high] if interval else None,
                "effective_num": round(point.effective_num, 1),
            }
        )
    return {
        "task": task.task,
        "verdict": task.verdict.sentence,
        "rule": task.verdict.rule,
        "notes": task.verdict.notes,
        "by_length": by_length,
        "effective_lengths": [dataclasses.asdict(found) for found in task.analysis.rules],
        "worse_cells": sorted(task.analysis.worse),
        "cells": _lines(task) if task.cells else [],
        "controls": [dataclasses.asdict(result) | {"warning": result.warning} for result in task.controls],
    }
