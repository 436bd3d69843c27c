"""What a click on a cell shows: its prompts around the needle, the answers, and what was wanted."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeAlias

import markupsafe
from jinja2.utils import htmlsafe_json_dumps

from longctx.pages import visible
from longctx.records import Row
from longctx.report.groups import Series, TaskGroup

Details: TypeAlias = dict[str, dict[str, Any]]
"""By cell key: samples as JSON values, and how many more there are."""

_MAX_BYTES = 1_800_000
_MAX_SAMPLES = 20
"""Of a cell; those without a score come first, then the wrong ones."""


def cell_key(group: int, series: Series, length: int, depth: float) -> str:
    """Names a cell of the page: task group, run, length, depth."""
    return f"{group}/{series.index}/{length}/{depth:g}"


def click_details(groups: Sequence[TaskGroup]) -> markupsafe.Markup:
    """What fits into a page, as JSON with < and > escaped: the more cells, the fewer samples of each.

    If one of each is too much, only cells with a failure keep one; if those are too many, none.
    """
    limit = _MAX_SAMPLES
    while True:
        text = htmlsafe_json_dumps(_details(groups, limit), dumps=functools.partial(json.dumps, ensure_ascii=False))
        if len(text.encode()) <= _MAX_BYTES:
            return text
        if limit == 0:
            return markupsafe.Markup("{}")
        limit //= 2


def _details(groups: Sequence[TaskGroup], limit: int) -> Details:
    found: Details = {}
    for index, group in enumerate(groups):
        for series in group.series:
            cells: defaultdict[tuple[int, float], list[Row]] = defaultdict(list)
            for row in series.summary.rows:
                if row.task == series.task.task:
                    cells[row.length, row.depth].append(row)
            for (length, depth), rows in cells.items():
                shown = _first(rows, limit)
                if shown:
                    key = cell_key(index, series, length, depth)
                    found[key] = {"samples": [_sample(row) for row in shown], "more": len(rows) - len(shown)}
    return found


def _first(rows: list[Row], limit: int) -> list[Row]:
    """Failures before wrong answers before right ones; with a limit of 0 one that is not right."""
    ordered = sorted(rows, key=lambda row: (row.status == "ok", row.score or 0.0, row.trial))
    return ordered[:limit] if limit else [row for row in ordered if row.score != 1.0][:1]


def outcome(row: Row) -> str:
    """right, wrong, partly right, near miss, or the status of a sample without a score."""
    if row.score is None:
        return row.status
    if row.score == 1.0:
        return "right"
    if row.near_miss:
        return "near miss"
    return f"partly right ({row.score:.0%})" if row.score else "wrong"


def _sample(row: Row) -> dict[str, Any]:
    return {
        "outcome": outcome(row),
        "trial": row.trial,
        "prompt": visible(row.excerpt, 620),
        "question": visible(row.question, 320),
        "targets": [visible(target, 200) for target in row.targets[:12]],
        "answer": visible(row.answer if row.error is None else row.error, 300),
        "logprob": None if row.target_logprob is None else round(row.target_logprob, 2),
        "tokens": row.num_prompt_tokens,
        "id": row.sample_id,
    }
