"""Effective length under the three rules, on published tables and on scores."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from longctx.lengths import format_length, parse_length
from longctx.statistics import RULES, EffectiveLength, Rule, Scores, effective_lengths
from longctx.statistics.bootstrap import Values
from longctx.statistics.effective import longest_passing

DATA = Path(__file__).parent / "data"


def published(name: str) -> list[dict[str, str]]:
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def recompute(entry: dict[str, str], rule: Rule) -> int | None:
    scores = {parse_length(key): float(score) / 100 for key, score in entry.items() if key[0].isdigit() and score}
    base = float(entry["base"]) / 100 if "base" in entry else None
    return longest_passing(list(scores), list(scores.values()), rule, base)


def listed(entry: dict[str, str], lengths: list[int]) -> int | None:
    """What the table says, in the terms of the rule: the longest that passes, None for under the shortest."""
    text = entry["listed"]
    return None if text.startswith("<") else parse_length(text.lstrip(">"))


def test_five_entries_of_rulers_table_break_its_own_rule() -> None:
    entries = published("ruler_published.csv")
    assert len(entries) == 52
    lengths = [parse_length(f"{n}k") for n in (4, 8, 16, 32, 64, 128)]
    broken = {}
    for entry in entries:
        found = recompute(entry, RULES["ruler"])
        if found != listed(entry, lengths):
            broken[entry["model"]] = (entry["listed"], format_length(found or 0))
    assert broken == {
        "Qwen3-14B": (">128k", "64k"),
        "Qwen2.5-7B-Instruct-1M": (">128k", "64k"),
        "Qwen3-8B": ("64k", "32k"),
        "Qwen3-4B": ("64k", "32k"),
        "EXAONE-4.0-1.2B": ("32k", "16k"),
    }


def test_nolimas_table_follows_its_rule() -> None:
    entries = published("nolima_published.csv")
    assert len(entries) == 7
    assert [recompute(entry, RULES["nolima"]) for entry in entries] == [listed(entry, []) for entry in entries]


def grid(*accuracies: float, trials: int = 40) -> Scores:
    """Two depths; the same share of trials is right at both."""
    values = np.array([[i < round(accuracy * trials) for accuracy in accuracies] for i in range(trials)], dtype=float)
    return Scores(tuple(1024 * 2**i for i in range(len(accuracies))), (0.0, 1.0), values[:, :, None].repeat(2, axis=2))


def by_rule(scores: Scores) -> dict[str, EffectiveLength]:
    return {found.rule.name: found for found in effective_lengths(scores)}


def test_the_rules_give_different_answers() -> None:
    found = by_rule(grid(0.7, 0.65, 0.55, 0.1))
    assert found["ruler"].value is None
    assert found["nolima"].value == 2048  # 0.595 is 85 % of 0.7
    found = by_rule(grid(1.0, 1.0, 0.875, 0.5))
    assert (found["ruler"].low, found["ruler"].value, found["ruler"].high) == (2048, 4096, 4096)
    assert found["nolima"].value == 4096
    assert found["ruler"].first_failed is not None
    assert (found["ruler"].first_failed.length, found["ruler"].first_failed.num_right) == (8192, 40)


def test_every_depth_must_pass_where_the_rule_says_so() -> None:
    scores = grid(1.0, 1.0, 1.0)
    scores.values[:12, 1, 1] = 0.0  # 70 % at one depth, 85 % at the length
    scores.values[:3, 1, 0] = 1.0
    found = by_rule(scores)
    assert found["all_depths"].value == found["all_depths"].high == 1024
    assert by_rule(grid(1.0, 1.0, 1.0))["all_depths"].low == 4096


def test_few_samples_cannot_show_that_every_depth_passes() -> None:
    found = by_rule(grid(1.0, 1.0, trials=20))["all_depths"]
    assert (found.low, found.value) == (None, 2048)  # 20 of 20 has a lower end of 83.9 %


def test_ends_beyond_the_grid_are_answers() -> None:
    best, worst = by_rule(grid(1.0, 1.0))["ruler"], by_rule(grid(0.0, 0.0))["ruler"]
    assert [best.say(length) for length in (best.low, best.value, best.high)] == ["beyond the longest tested"] * 3
    assert best.first_failed is None
    assert [worst.say(length) for length in (worst.low, worst.value, worst.high)] == ["not reached"] * 3
    assert best.say(1024) == "1,024 tokens"


def test_a_model_that_is_always_wrong_is_not_as_good_as_its_base() -> None:
    assert by_rule(grid(0.0, 0.0))["nolima"].high is None


def test_an_unscored_sample_stops_every_rule() -> None:
    scores = grid(1.0, 1.0, 1.0)
    scores.values[0, 1, 0] = np.nan
    assert {found.high for found in effective_lengths(scores)} == {1024}
    for found in effective_lengths(scores):
        assert found.first_failed is not None
        assert found.first_failed.num_failed == 1


@given(arrays(float, (6, 4, 2), elements=st.sampled_from([0.0, 1.0])))
def test_the_interval_holds_the_value(values: Values) -> None:
    for found in effective_lengths(Scores((1, 2, 3, 4), (0.0, 1.0), values)):
        low, value, high = (-1 if length is None else length for length in (found.low, found.value, found.high))
        assert low <= value <= high


@given(arrays(float, (12, 3, 2), elements=st.sampled_from([0.0, 1.0])), st.integers(0, 11), st.integers(0, 2))
def test_one_more_right_answer_never_shortens_it(values: Values, trial: int, length: int) -> None:
    better = values.copy()
    better[trial, length] = 1.0
    rules = [RULES["ruler"], RULES["all_depths"]]  # a better base makes NoLiMa's rule harder
    for before, after in zip(
        effective_lengths(Scores((1, 2, 3), (0.0, 1.0), values), rules),
        effective_lengths(Scores((1, 2, 3), (0.0, 1.0), better), rules),
        strict=True,
    ):
        assert (before.value or 0) <= (after.value or 0)


def test_a_rule_says_what_it_asks() -> None:
    assert RULES["nolima"].text == (
        "accuracy is at least 85.0% of that at the shortest tested length, there and at every shorter tested length"
    )
    assert RULES["all_depths"].text.startswith("every depth's accuracy is at least 85.6%,")
    with pytest.raises(AttributeError):
        RULES["ruler"].threshold = 0.5  # type: ignore[misc]
