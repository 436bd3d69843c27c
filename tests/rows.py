"""Rows for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

from longctx.records import Row


def make_row(**changes: Any) -> Row:
    row = Row(
        sample_id="a",
        task="niah_single:digits=7:max_new_tokens=16",
        design="isolated",
        length=1024,
        depth=0.5,
        trial=0,
        status="ok",
        score=1.0,
        near_miss=False,
        targets=("4043756",),
        answer=" 4043756.",
        error=None,
        beyond_window=False,
        needle_position=500,
        needle_depth=0.49,
        num_prompt_tokens=1008,
        max_new_tokens=16,
        num_completion_tokens=9,
        num_prefilled_tokens=1008,
        num_prefilled_prefix_tokens=960,
        target_logprob=-0.25,
        seconds=1.5,
        finished="2026-01-01T00:00:00+00:00",
    )
    return dataclasses.replace(row, **changes)
