from __future__ import annotations

import random
import re
from itertools import islice
from statistics import mean

import pytest

from longctx.errors import ConfigError
from longctx.haystack.lexicon import lists_folder, load_lexicon
from longctx.haystack.narrator import narrate
from longctx.tasks.no_literal_match import (
    NoLiteralMatch,
    Pair,
    load_pairs,
    rouge1_precision,
    shared_content_words,
)

PAIRS = load_pairs()


def test_there_are_enough_different_pairs() -> None:
    assert len(PAIRS) >= 60
    asked = [pair.question for pair in PAIRS] + [pair.two_hop for pair in PAIRS if pair.two_hop]
    assert len(set(asked)) == len(asked)
    assert len({pair.needle for pair in PAIRS}) == len(PAIRS)
    assert sum(bool(pair.two_hop) for pair in PAIRS) >= 40


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.question)
def test_question_and_needle_share_no_content_word(pair: Pair) -> None:
    for needle in (pair.needle, pair.inverted):
        for question in filter(None, (pair.question, pair.two_hop)):
            assert not shared_content_words(question, needle.replace("{name}", ""))


def test_rouge_is_near_nolimas_and_far_from_the_direct_questions() -> None:
    def measured(attribute: str) -> float:
        return mean(
            rouge1_precision(getattr(pair, attribute), needle.replace("{name}", "Zelda"))
            for pair in PAIRS
            if getattr(pair, attribute)
            for needle in (pair.needle, pair.inverted)
        )

    assert measured("question") < 0.12
    assert measured("two_hop") < 0.12
    assert measured("direct") > 0.6


def test_rouge_counts_words() -> None:
    assert rouge1_precision("Who ate the pie?", "The dog ate.") == 0.5
    assert rouge1_precision("the the", "the cat") == 0.5
    assert shared_content_words("Who walks to a dog?", "A cat walked to the dogs.") == {"walk", "dog"}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.question)
def test_pairs_are_well_formed(pair: Pair) -> None:
    assert pair.needle.startswith("{name} ")
    assert pair.inverted.count("{name}") == 1
    assert not pair.inverted.startswith("{name}")
    for text in (pair.needle, pair.inverted):
        assert text.isascii()
        assert re.fullmatch(r"[A-Z{][^\n]*[^.]\.", text)
    for text in filter(None, (pair.question, pair.two_hop)):
        assert re.fullmatch(r"Wh(ich|at) character [^\n]*[^?]\?", text)
    assert pair.direct.startswith("Which character ")


def test_names_are_apart_and_in_no_generated_filler() -> None:
    people = load_lexicon("characters")
    names = people["women"] + people["men"]
    assert len(set(names)) == len(names)
    assert not [(a, b) for a in names for b in names if a != b and a in b]
    assert not set(names) & set(load_lexicon("narrator")["names"])
    text = " ".join(islice(narrate(3), 3000))
    assert not [name for name in names if name in text]
    written = (lists_folder() / "no_literal_match.toml").read_text(encoding="utf-8")
    assert not [name for name in names if re.search(rf"\b{name}\b", written)]


@pytest.mark.parametrize("hops", [1, 2])
def test_the_answer_follows_from_one_needle_alone(hops: int) -> None:
    task = NoLiteralMatch(hops=hops, distractors=5)
    names = set(load_lexicon("characters")["women"] + load_lexicon("characters")["men"])
    for seed in range(400):
        item = task.item(random.Random(seed), 0.3)
        (name,) = item.targets
        assert item.support == (0,)
        assert item.needles[0].depth == 0.3
        assert name in item.needles[0].text
        assert not any(name in needle.text for needle in item.needles[1:])
        shapes = [re.sub(rf"\b(?:{'|'.join(names)})\b", "{name}", needle.text) for needle in item.needles]
        pairs = [next(pair for pair in PAIRS if shape in (pair.needle, pair.inverted)) for shape in shapes]
        assert item.question == (pairs[0].two_hop if hops == 2 else pairs[0].question)
        assert pairs[0].theme not in {pair.theme for pair in pairs[1:]}
        assert len(pairs) == len({pair.theme + pair.needle for pair in pairs}) == 6
        assert set(item.targets) <= set(item.candidates) == names
        assert not names & set(item.question.split())


def test_the_same_seed_gives_the_same_item_and_others_others() -> None:
    task = NoLiteralMatch()
    assert task.item(random.Random(1), 0.5) == task.item(random.Random(1), 0.5)
    items = [task.item(random.Random(seed), 0.5) for seed in range(2000)]
    assert {item.question for item in items} == {pair.question for pair in PAIRS}
    assert len({item.needles[0].text for item in items}) > 1500


def test_a_direct_question_repeats_the_needle() -> None:
    assert PAIRS[0].direct == "Which character once slept amid Machu Picchu's ruins?"
    item = NoLiteralMatch(direct=1).item(random.Random(0), 0.5)
    assert item.question in {pair.direct for pair in PAIRS}


@pytest.mark.parametrize(
    ("answer", "value", "strict"),
    [
        (" Zelda", 1.0, 1.0),
        ("Zelda.", 1.0, 1.0),
        ("The character is **Zelda**, since Zelda went there.", 1.0, 1.0),
        ("Let me see.\nZelda\nQuestion: who else? Saskia", 1.0, 1.0),
        ("Zelda or Saskia", 1.0, 0.0),
        ("Not Saskia. Zelda.", 1.0, 0.0),
        ("Zeldamira", 1.0, 0.0),  # NoLiMa takes part of a word for the name
        ("zelda", 0.0, 0.0),
        ("Saskia", 0.0, 0.0),
        ("", 0.0, 0.0),
        ("None of them did. " * 20, 0.0, 0.0),
    ],
)
def test_scores(answer: str, value: float, strict: float) -> None:
    score = NoLiteralMatch().score(answer, ("Zelda",))
    assert (score.value, score.strict, score.near_miss) == (value, strict, False)


def test_listing_every_name_is_right_for_nolima_and_not_for_us() -> None:
    people = load_lexicon("characters")
    score = NoLiteralMatch().score(", ".join(people["women"] + people["men"]), ("Zelda",))
    assert (score.value, score.strict) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        ("Zelda.\n", True),
        ("Zelda\n", True),
        ("Zelda.", False),
        ("The answer is:\n", False),
        ("I think. So", False),
        ("It is not Saskia. It is Zelda", False),
    ],
)
def test_an_answer_ends_with_the_line_that_names_somebody(answer: str, ends: bool) -> None:
    assert bool(re.search(NoLiteralMatch.stop, answer)) == ends


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hops": 3}, "hops is 3; it must be one of 1, 2"),
        ({"direct": 2}, "direct is 2; it must be one of 0, 1"),
        ({"distractors": -1}, "distractors is -1"),
        ({"direct": 1, "hops": 2}, "a direct question has one hop"),
        ({"max_new_tokens": 2}, "max_new_tokens is 2"),
    ],
)
def test_illegal_options_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        NoLiteralMatch(**options)
