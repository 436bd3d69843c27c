from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from longctx.errors import ConfigError
from longctx.haystack.lexicon import load_lexicon
from longctx.tasks.repeated_words import RepeatedWords

TASK = RepeatedWords()


@given(st.integers(0, 2**32), st.floats(0.0, 1.0), st.integers(8, 500))
def test_one_word_is_odd_and_stands_at_the_depth(seed: int, depth: float, num_entries: int) -> None:
    listing = TASK.listing(random.Random(seed), depth, num_entries)
    assert len(listing.entries) == num_entries
    assert all(re.fullmatch(r" [a-z]+", entry) for entry in listing.entries)
    counted = Counter(listing.entries).most_common()
    assert [count for _, count in counted] == [num_entries - 1, 1]
    (place,) = listing.support
    assert listing.entries[place] == counted[1][0]
    assert abs(place - depth * (num_entries - 1)) <= 0.5
    assert listing.targets == ("".join(listing.entries).strip(),)
    assert listing == TASK.listing(random.Random(seed), depth, num_entries)


def test_the_words_depend_on_the_seed_and_not_on_the_number_of_entries() -> None:
    few, many = (TASK.listing(random.Random(5), 0.0, count) for count in (10, 1000))
    assert few.entries == many.entries[:10]
    assert len({TASK.listing(random.Random(seed), 0.5, 8).targets for seed in range(200)}) > 15


def test_pairs_are_different_and_alike() -> None:
    pairs = [pair.split() for pair in load_lexicon("repeated_words")["pairs"]]
    words = [word for pair in pairs for word in pair]
    assert len(set(words)) == len(words) == 2 * len(pairs)
    assert all(1 <= Levenshtein.distance(*pair) <= 2 for pair in pairs)


@pytest.mark.parametrize("length", [256, 8191, 10_000_000])
def test_the_copy_fits_into_the_room(length: int) -> None:
    assert TASK.room(length) >= length - TASK.room(length) - 1
    shortest = [TASK.listing(random.Random(seed), 0.5, TASK.min_entries) for seed in range(200)]
    assert max(len(listing.targets[0]) for listing in shortest) <= 80  # at a token for every letter


TARGET = "apple apple apples apple apple apple apple apple"


@pytest.mark.parametrize(
    ("answer", "value", "strict", "near"),
    [
        (TARGET, 1.0, 1.0, False),
        (f" {TARGET}\n", 1.0, 1.0, False),
        (TARGET.replace(" ", "\n"), 1.0, 1.0, False),
        (TARGET.replace("apples", "apple"), 1 - 1 / 48, 0.0, True),  # the odd word is not there
        ("apple apples apple apple apple apple apple apple", 1 - 2 / 48, 0.0, True),  # at a wrong place
        (TARGET + " apple", 48 / 54, 0.0, False),
        (TARGET[:24], 0.5, 0.0, False),
        ("", 0.0, 0.0, False),
        ("xyz", 0.0, 0.0, False),
    ],
)
def test_scores(answer: str, value: float, strict: float, near: bool) -> None:
    score = TASK.score(answer, (TARGET,))
    assert score.value == pytest.approx(value)
    assert (score.strict, score.near_miss) == (strict, near)


def test_rambling_scores_little() -> None:
    score = TASK.score("The text is about many different things, of which I remember few. " * 30, (TARGET,))
    assert score.value < 0.05
    assert score.strict == 0.0


@pytest.mark.parametrize(
    ("answer", "ends"), [(TARGET, False), ("\n\n" + TARGET, False), ("apple\napple", False), (TARGET + "\n\n", True)]
)
def test_an_answer_ends_with_an_empty_line(answer: str, ends: bool) -> None:
    assert bool(re.search(TASK.stop, answer)) == ends


def test_illegal_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_new_tokens is 16; a copy of 8 words needs at least 80"):
        RepeatedWords(max_new_tokens=16)
    with pytest.raises(ValueError, match="at least 8"):
        TASK.listing(random.Random(0), 0.5, 7)
