from __future__ import annotations

import math
import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.errors import ConfigError
from longctx.records import Listing, Score
from longctx.tasks.base import ListTask
from longctx.tasks.ruler_words import CommonWords, FrequentWords

CWE, FWE = CommonWords(), FrequentWords()
each_task = pytest.mark.parametrize("task", [CWE, FWE], ids=["cwe", "fwe"])
counts_from = st.integers(120, 3000)


def numbered_words(text: str) -> list[str]:
    """The words of a numbered list, whose numbers must be 1, 2, 3 ..."""
    found = re.findall(r" (\d+)\. (\S+)", text)
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    return [word for _, word in found]


def dealt(listing: Listing) -> Counter[str]:
    return Counter(entry.split()[-1] for entry in listing.entries)


@given(num_entries=counts_from, seed=st.integers(0, 2**32))
def test_common_words_are_the_ten_commonest(num_entries: int, seed: int) -> None:
    listing = CWE.listing(random.Random(seed), 0.5, num_entries)
    words = numbered_words("".join(listing.entries))
    assert len(words) == len(listing.entries) == num_entries
    counted = Counter(words).most_common()
    assert {word for word, _ in counted[:10]} == set(listing.targets)
    assert len(listing.targets) == 10
    common, other = (6, 1) if num_entries < 500 else (30, 3)
    assert {count for _, count in counted[:10]} == {common}
    others = [count for _, count in counted[10:]]
    assert set(others[:-1]) == {other}
    assert 1 <= others[-1] <= other  # the last word takes what is left over
    assert {words[place] for place in listing.support} == set(listing.targets)
    assert len(listing.support) == 10 * common


@given(num_entries=counts_from, seed=st.integers(0, 2**32))
def test_no_other_word_contains_a_common_one(num_entries: int, seed: int) -> None:
    listing = CWE.listing(random.Random(seed), 0.5, num_entries)
    others = " ".join(set(dealt(listing)) - set(listing.targets))
    assert not any(target in others for target in listing.targets)
    assert CWE.score(others, listing.targets).value == 0.0


def test_enough_words_for_ten_million_tokens() -> None:
    listing = CWE.listing(random.Random(0), 0.5, 1_100_000)
    assert len(dealt(listing)) == 10 + math.ceil((1_100_000 - 300) / 3)


def test_the_example_of_common_words_is_right() -> None:
    text, _, answer = CWE.instruction.partition("Question:")
    counted = Counter(numbered_words(text))
    ten = answer.split(" are ")[1].split(".")[0].split(", ")
    assert {word for word, count in counted.items() if count == 10} == set(ten)
    assert len(ten) == 10
    assert sorted(counted.values()) == [3] * 30 + [10] * 10


@given(num_entries=st.integers(100, 4000), seed=st.integers(0, 2**32))
def test_frequent_words_fall_off_with_the_square_of_their_rank(num_entries: int, seed: int) -> None:
    listing = FWE.listing(random.Random(seed), 0.5, num_entries)
    text = "".join(listing.entries)
    words = text.split()
    assert len(words) == len(listing.entries) == num_entries
    counted = Counter(words)
    dots = counted.pop("...")
    assert all(re.fullmatch(r"[a-z]{6}", word) for word in counted)
    ranked = counted.most_common()
    zeta = sum(k**-2 for k in range(1, 100_000)) + 1e-5
    for rank, (_, count) in enumerate(ranked, 2):
        assert count == math.floor(num_entries / (rank**2 * zeta))
    assert math.floor(num_entries / ((len(ranked) + 2) ** 2 * zeta)) == 0
    assert dots >= math.floor(num_entries / zeta) > 2 * ranked[0][1]
    assert [word for word, _ in ranked[:3]] == list(listing.targets)
    assert ranked[2][1] > ranked[3][1]  # the third is not tied with the fourth
    assert {words[place] for place in listing.support} == set(listing.targets)


def test_rulers_vocabulary_is_longer_than_the_ranks_that_occur() -> None:
    for num_entries in (100, 1000, 10_000, 100_000):
        listing = FWE.listing(random.Random(0), 0.5, num_entries)
        assert len(dealt(listing)) < 4 * num_entries / 50  # four tokens for an entry are many


@each_task
def test_answers(task: ListTask) -> None:
    listing = task.listing(random.Random(4), 0.5, 600)
    perfect = "\n".join(f"{number}. {word}" for number, word in enumerate(listing.targets, 1))
    for answer in (perfect, " ".join(reversed(listing.targets)), f"{', '.join(listing.targets)}.\n\nText: 1. a-b"):
        assert task.score(answer, listing.targets) == Score(1.0, near_miss=False, strict=1.0)
    for answer in ("", "I lost count.", "...", " ".join(sorted(set(dealt(listing)) - set(listing.targets)))):
        assert task.score(answer, listing.targets) == Score(0.0, near_miss=False, strict=0.0)
    everything = "".join(listing.entries)
    assert task.score(everything, listing.targets) == Score(1.0, near_miss=False, strict=0.0)
    most = len(listing.targets) - 1
    assert task.score(" ".join(listing.targets[:-1]), listing.targets).value == most / (most + 1)


@each_task
def test_every_number_of_entries_is_kept_to(task: ListTask) -> None:
    for num_entries in [*range(task.min_entries, task.min_entries + 12), 499, 500, 501, 502, 10_000]:
        listing = task.listing(random.Random(num_entries), 0.0, num_entries)
        assert len(listing.entries) == num_entries
        assert all(entry.startswith(" ") and not entry.endswith(" ") for entry in listing.entries)


@each_task
def test_the_same_seed_makes_the_same_list_and_another_one_another(task: ListTask) -> None:
    assert task.listing(random.Random(3), 0.5, 200) == task.listing(random.Random(3), 0.5, 200)
    assert len({task.listing(random.Random(seed), 0.5, 200).targets for seed in range(50)}) == 50


def test_rulers_rooms_and_kinds() -> None:
    assert (CWE.max_new_tokens, FWE.max_new_tokens) == (120, 50)
    assert {CWE.measures, FWE.measures} == {"reasons"}


@pytest.mark.parametrize("task", [CommonWords, FrequentWords])
def test_no_room_is_an_error(task: type[ListTask]) -> None:
    with pytest.raises(ConfigError, match="max_new_tokens is 0; it must be at least 1"):
        task(max_new_tokens=0)
