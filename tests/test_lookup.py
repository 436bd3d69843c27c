"""Guesses from the prompt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.engine.lookup import look_up


@pytest.mark.parametrize(
    ("prompt", "tokens", "guess"),
    [
        ([1, 2, 3, 4, 5, 6, 7], [2, 3], [4, 5, 6]),
        ([1, 2, 9, 1, 2, 8, 7], [1, 2], [8, 7, 1]),  # the latest
        ([5, 1, 2, 9, 6, 1, 2, 8], [5, 1, 2], [9, 6, 1]),  # but a longer match before a later one
        ([1, 2], [2, 2], [2]),  # an overlap with itself
        ([1, 2, 3], [3], []),  # a single token says nothing
        ([1], [], []),
    ],
)
def test_the_guess_is_what_followed_the_last_time(prompt: list[int], tokens: list[int], guess: list[int]) -> None:
    assert look_up(np.array(prompt, dtype=np.int32), tokens, 3) == guess


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), max_size=6), st.integers(0, 5))
def test_a_guess_follows_the_same_tokens_somewhere(prompt: list[int], tokens: list[int], most: int) -> None:
    guess = look_up(np.array(prompt, dtype=np.int32), tokens, most)
    whole = prompt + tokens
    assert len(guess) <= most
    said = [*whole[-2:], *guess]
    assert not guess or any(whole[i : i + len(said)] == said for i in range(len(whole) - 2))
