from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest

from longctx.errors import UnknownNameError
from longctx.haystack import get_source
from longctx.haystack.lexicon import load_lexicon
from longctx.haystack.narrator import narrate


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return list(itertools.islice(narrate(0), 4000))  # about 80k tokens


def test_a_seed_gives_the_same_text_and_another_seed_another(sentences: list[str]) -> None:
    assert list(itertools.islice(narrate(0), 50)) == sentences[:50]
    assert not set(itertools.islice(narrate(1), 500)) & set(sentences)


def test_no_sentence_comes_twice(sentences: list[str]) -> None:
    assert len(set(sentences)) == len(sentences)


def test_sentences_can_be_spliced(sentences: list[str]) -> None:
    for sentence in sentences:
        assert re.fullmatch(r'["A-Z][^\n]*\.', sentence), sentence
        assert not re.search(r"\d|  ", sentence), sentence


def test_articles_and_possessives_agree(sentences: list[str]) -> None:
    for sentence in sentences:
        assert not re.search(r"\b[Aa] [aeio]|\b[Aa]n (?!hour)[^aeiou]|s's\b", sentence), sentence


def test_little_repeats(sentences: list[str]) -> None:
    words = " ".join(sentences).split()
    grams = Counter(zip(*(words[i:] for i in range(8)), strict=False))
    repeated = sum(count - 1 for count in grams.values()) / sum(grams.values())
    assert repeated < 0.02
    assert grams.most_common(1)[0][1] <= 20  # no phrase stands out


def test_filler_holds_no_needle_key(sentences: list[str]) -> None:
    keys = load_lexicon("keys")
    pairs = {f"{first} {second}" for first in keys["first"] for second in keys["second"]}
    text = " ".join(sentences).lower()
    assert not [pair for pair in pairs if pair in text]
    assert "special number" not in text


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="narrator"):
        get_source("narator")
