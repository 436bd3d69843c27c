from __future__ import annotations

import itertools
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.errors import ConfigError
from longctx.haystack.lexicon import load_lexicon
from longctx.haystack.narrator import narrate
from longctx.haystack.needles import is_reserved, needles_uuids, needles_words, word_keys
from longctx.haystack.noise import PASSAGE, repeat_noise
from longctx.records import Item, Score
from longctx.tasks.base import NeedleTask
from longctx.tasks.ruler_needles import (
    DEPTHS,
    NiahMultikey1,
    NiahMultikey2,
    NiahMultikey3,
    NiahMultiquery,
    NiahMultivalue,
    NiahSingle1,
    NiahSingle2,
    NiahSingle3,
)

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
WORDS = r"[a-z]+-[a-z]+"
NUMBER = r"[1-9]\d{6}"
# Task, what its key and value look like, its needles, how many of them are asked for.
SHAPES: list[tuple[NeedleTask, str, str, int, int]] = [
    (NiahSingle1(), WORDS, NUMBER, 1, 1),
    (NiahSingle2(), WORDS, NUMBER, 1, 1),
    (NiahSingle3(), WORDS, UUID, 1, 1),
    (NiahMultikey1(), WORDS, NUMBER, 4, 1),
    (NiahMultikey1(num_keys=40), WORDS, NUMBER, 40, 1),
    (NiahMultikey2(), WORDS, NUMBER, 1, 1),
    (NiahMultikey3(), UUID, UUID, 1, 1),
    (NiahMultivalue(), WORDS, NUMBER, 4, 4),
    (NiahMultivalue(num_values=1), WORDS, NUMBER, 1, 1),
    (NiahMultiquery(), WORDS, NUMBER, 4, 4),
    (NiahMultiquery(num_queries=2), WORDS, NUMBER, 2, 2),
]
TASKS = [shape[0] for shape in SHAPES]

each_shape = pytest.mark.parametrize(
    ("task", "key", "value", "count", "asked"), [pytest.param(*shape, id=shape[0].spec()) for shape in SHAPES]
)
each_task = pytest.mark.parametrize("task", [pytest.param(task, id=task.spec()) for task in TASKS])


def read(item: Item, key: str, value: str) -> list[tuple[str, str]]:
    """(key, value) of each needle, by reading its text."""
    found = []
    for needle in item.needles:
        match = re.fullmatch(rf"A special (?:number|code) for ({key}) is ({value})\.", needle.text)
        assert match, needle.text
        found.append((match[1], match[2]))
    return found


@each_shape
def test_the_targets_follow_from_what_is_inserted(
    task: NeedleTask, key: str, value: str, count: int, asked: int
) -> None:
    for seed, depth in itertools.product(range(40), (0.0, 0.3, 1.0)):
        item = task.item(random.Random(seed), depth)
        facts = read(item, key, value)
        assert len(facts) == len(set(facts)) == count
        wanted = re.findall(key, item.question)
        right = {said for name, said in facts if name in wanted}
        assert right == set(item.targets)
        assert len(item.targets) == asked
        assert {facts[number][1] for number in item.support} == right
        assert not any(target in item.question + item.answer_prefix for target in item.targets)
        assert re.findall(key, item.answer_prefix) == wanted


@each_shape
def test_no_value_of_another_key_is_right(task: NeedleTask, key: str, value: str, count: int, asked: int) -> None:
    for seed in range(40):
        item = task.item(random.Random(seed), 0.5)
        others = {said for _, said in read(item, key, value)} - set(item.targets)
        assert len(others) == count - asked
        assert task.score(" ".join(others), item.targets).value == 0.0


@each_task
def test_the_first_of_the_support_stands_at_the_depth_and_the_others_elsewhere(task: NeedleTask) -> None:
    for seed, depth in itertools.product(range(20), (0.0, 0.25, 0.5, 1.0)):
        item = task.item(random.Random(seed), depth)
        first, *others = (needle.depth for needle in item.needles)
        assert item.support[0] == 0
        assert first == depth
        assert len(set(others)) == len(others)
        assert set(others) <= set(DEPTHS)
        assert depth not in others


@each_task
def test_answers(task: NeedleTask) -> None:
    item = task.item(random.Random(5), 0.5)
    right = Score(1.0, near_miss=False, strict=1.0)
    for answer in (" and ".join(item.targets), f": {', '.join(item.targets)}.\n\nQuestion: 5555555?"):
        assert task.score(answer, item.targets) == right
    for answer in ("", "I cannot find it.", "there is none " * 50, "1111111 22222222-2222"):
        assert task.score(answer, item.targets) == Score(0.0, near_miss=False, strict=0.0)
    rambling = f"Let me see: {', '.join([*item.targets, '5555555', item.targets[0][::-1] + '1-1-1'])}"
    assert task.score(rambling, item.targets) == Score(1.0, near_miss=False, strict=0.0)


@each_task
def test_the_same_seed_makes_the_same_item_and_another_one_another(task: NeedleTask) -> None:
    assert task.item(random.Random(3), 0.5) == task.item(random.Random(3), 0.5)
    assert len({task.item(random.Random(seed), 0.5).targets for seed in range(50)}) == 50


def test_rulers_rooms_fillers_and_kinds() -> None:
    assert {task.max_new_tokens for task in TASKS} == {128}
    assert {task.measures for task in TASKS} == {"retrieves"}
    fillers = {"niah_single_1": "noise", "niah_multikey_2": "needles_words", "niah_multikey_3": "needles_uuids"}
    for task in TASKS:
        assert task.filler == fillers.get(task.name, "")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NiahMultikey1(num_keys=0), "niah_multikey_1: num_keys is 0; it must be 1 to 40"),
        (lambda: NiahMultikey1(num_keys=41), "num_keys is 41; it must be 1 to 40"),
        (lambda: NiahMultivalue(num_values=-1), "num_values is -1; it must be 1 to 40"),
        (lambda: NiahMultiquery(num_queries=100), "num_queries is 100; it must be 1 to 40"),
        (lambda: NiahSingle1(max_new_tokens=0), "max_new_tokens is 0; it must be at least 1"),
    ],
)
def test_illegal_options_are_named(make: type[NeedleTask], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@given(seed=st.integers(0, 2**63), count=st.integers(1, 40))
def test_word_keys_are_different_and_reserved(seed: int, count: int) -> None:
    keys = word_keys(random.Random(seed), count)
    assert len(set(keys)) == count
    assert all(is_reserved(key) for key in keys)


def test_no_needle_of_the_filler_has_a_key_that_can_be_asked_for() -> None:
    words = load_lexicon("ruler_words")
    pairs = [f"{first}-{second}" for first in words["adjectives"] for second in words["nouns"]]
    free = [key for key in pairs if not is_reserved(key)]
    assert len(pairs) - len(free) > 20_000
    first_pass = itertools.islice(needles_words(7), len(free))
    found = {re.fullmatch(rf"A special number for ({WORDS}) is {NUMBER}\.", said)[1] for said in first_pass}  # type: ignore[index]
    assert found == set(free)


def test_the_filler_of_needles_goes_on_when_all_keys_were_used() -> None:
    said = list(itertools.islice(needles_words(7), 400_000))
    assert len(set(said)) == len(said)


def test_needles_of_codes() -> None:
    said = list(itertools.islice(needles_uuids(1), 2000))
    assert all(re.fullmatch(rf"A special code for {UUID} is {UUID}\.", one) for one in said)
    assert len(set(said)) == len(said)


@pytest.mark.parametrize(("task", "source"), [(NiahMultikey2(), needles_words), (NiahMultikey3(), needles_uuids)])
def test_filler_and_needle_differ_in_nothing_but_key_and_value(task: NeedleTask, source: object) -> None:
    def shape(said: str) -> str:
        return re.sub(rf"{UUID}|{WORDS}|{NUMBER}", "*", said)

    assert callable(source)
    needle = task.item(random.Random(0), 0.5).needles[0].text
    assert {shape(said) for said in itertools.islice(source(0), 500)} == {shape(needle)}


def test_sources_follow_their_seed() -> None:
    for source in (needles_words, needles_uuids):
        assert list(itertools.islice(source(1), 50)) == list(itertools.islice(source(1), 50))
        assert list(itertools.islice(source(1), 50)) != list(itertools.islice(source(2), 50))


def test_noise_is_one_passage_over_and_over() -> None:
    assert list(itertools.islice(repeat_noise(1), 12)) == [*PASSAGE, *PASSAGE, *PASSAGE[:2]]
    assert list(itertools.islice(repeat_noise(2), 5)) == list(PASSAGE)
    assert not re.search(r"\d|VAR|special", " ".join(PASSAGE))
    assert all(re.fullmatch(r"[A-Z][a-z ]+\.", said) for said in PASSAGE)
    assert len({len(said.split()) for said in PASSAGE}) == len(PASSAGE)


def test_the_narrator_says_nothing_of_special_numbers() -> None:
    assert not re.search(r"\d|special", " ".join(itertools.islice(narrate(0), 5000)))


def test_no_word_of_the_lexicon_is_contained_in_another() -> None:
    lexicon = load_lexicon("ruler_words")
    words = lexicon["adjectives"] + lexicon["nouns"]
    assert len(set(words)) == len(words) > 1300
    assert all(re.fullmatch(r"[a-z]+", word) for word in words)
    together = " ".join(words)
    assert [word for word in words if together.count(word) > 1] == []
