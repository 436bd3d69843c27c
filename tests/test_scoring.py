from __future__ import annotations

import pytest

from longctx.scoring import score_number


@pytest.mark.parametrize(
    ("answer", "value", "near_miss"),
    [
        (" 4043756.", 1.0, False),
        ("4043756", 1.0, False),
        ("It is 4043756", 1.0, False),
        (" 40437561", 0.0, True),  # a substring hit for RULER
        (" 404375", 0.0, True),
        (" 4043576", 0.0, True),
        (" 9999999, no, 4043756", 0.0, False),  # the first number is the answer
        (" 1234567", 0.0, False),
        (" I do not know", 0.0, False),
        ("", 0.0, False),
    ],
)
def test_only_the_whole_first_number_counts(answer: str, value: float, near_miss: bool) -> None:
    score = score_number(answer, ("4043756",))
    assert (score.value, score.near_miss) == (value, near_miss)


def test_an_answer_without_a_number_misses_by_far() -> None:
    assert not score_number("none", ("12",)).near_miss


def test_any_target_may_be_hit() -> None:
    assert score_number("22", ("11", "22")).value == 1.0
