"""Scorers: an answer's text and the targets in, a Score out."""

from __future__ import annotations

import re

from rapidfuzz.distance import Levenshtein

from longctx.records import Score

NUMBER_STOP = r"\d(?=\D)"
"""A number is complete when something other than a digit follows it."""


def score_number(text: str, targets: tuple[str, ...]) -> Score:
    """1.0 if the first number in `text` is one of the targets, digit for digit.

    Stricter than RULER's substring hit, which also accepts 40437561 for 4043756.
    """
    match = re.search(r"\d+", text)
    found = match[0] if match else ""
    if found in targets:
        return Score(1.0, near_miss=False)
    nearest = min(Levenshtein.distance(found, target) for target in targets)
    return Score(0.0, near_miss=bool(found) and nearest <= 2)
