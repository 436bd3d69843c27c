from __future__ import annotations

import random
import re
from collections import Counter
from itertools import islice, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.fiction.events import NONE, Event, Kind
from longctx.fiction.grammar import Grammar, article, finish
from longctx.fiction.log import Log
from longctx.fiction.naming import Coiner, number_word, ordinal_words
from longctx.fiction.prose import GRAMMAR_FILES
from longctx.fiction.statements import called
from longctx.fiction.story import Passage, Story, tell
from longctx.haystack.lexicon import load_lexicon

NUM_PASSAGES = 20_000  # about half a million tokens


@pytest.fixture(scope="module")
def told() -> tuple[Log, list[Passage]]:
    story = Story(0)
    return story.log, list(islice(story, NUM_PASSAGES))


@pytest.fixture(scope="module")
def passages(told: tuple[Log, list[Passage]]) -> list[Passage]:
    return told[1]


def test_a_seed_tells_the_same_story_and_another_seed_another(passages: list[Passage]) -> None:
    assert list(islice(tell(0), 300)) == passages[:300]
    assert not {passage.text for passage in islice(tell(1), 300)} & {passage.text for passage in passages}


def test_passages_are_well_formed(passages: list[Passage]) -> None:
    for passage in passages:
        text = passage.text
        assert re.fullmatch(r'"?[A-Z][^\n]*[.!?]"?', text), text
        assert not re.search(r"  | [.,;:!?]|\.\.|,,|[@^{}\[\]|~]|\d|, [.;]", text), text
        assert text.count('"') % 2 == 0, text


def test_articles_agree(passages: list[Passage]) -> None:
    a_before_vowel = re.compile(r"\b[Aa] (?!one|once|uni(?!n)|use|usu|eu|ewe)[aeiou]\w*")
    an_before_consonant = re.compile(r"\b[Aa]n (?!hour|honest|honou?r|heir)[^aeiouAEIOU\s]\w*")
    for passage in passages:
        assert not a_before_vowel.search(passage.text), passage.text
        assert not an_before_consonant.search(passage.text), passage.text


def test_sentences_begin_with_capitals(passages: list[Passage]) -> None:
    for passage in passages:
        assert not re.search(r'[.!] "?[a-z]', passage.text), passage.text


def test_no_word_is_doubled(passages: list[Passage]) -> None:
    for passage in passages:
        assert not re.search(r"\b(\w+) \1\b", passage.text), passage.text


def test_no_sentence_comes_twice(passages: list[Passage]) -> None:
    sentences = [one for passage in passages for one in re.split(r"(?<=\.) ", passage.text) if one.count(" ") > 3]
    twice = [one for one, count in Counter(sentences).items() if count > 1]
    assert not twice
    assert len({passage.text for passage in passages}) == len(passages)


def test_no_phrase_dominates(passages: list[Passage]) -> None:
    words = re.findall(r"[\w'-]+", " ".join(passage.text for passage in passages[:8000]).lower())  # ~200k tokens
    grams = Counter(zip(*(words[place:] for place in range(8)), strict=False))
    commonest = [(" ".join(gram), count) for gram, count in grams.most_common(10)]
    assert commonest[0][1] <= 10, commonest
    assert sum(count - 1 for count in grams.values()) / sum(grams.values()) < 0.0015
    assert len(set(words)) > 8000


def test_every_event_is_stated_once_with_all_names(told: tuple[Log, list[Passage]]) -> None:
    log, passages = told
    stated = [(one, passage.text) for passage in passages for one in passage.events]
    assert [one for one, _ in stated] == list(range(len(log)))
    for one, text in stated:
        event = log[one]
        for name in _names(log, event):
            assert name.lower() in text.lower(), (name, text)


def _names(log: Log, event: Event) -> list[str]:
    """All that the text of an event has to name."""
    names = [called(log, event.who, event.who_alias)]
    if event.whom != NONE:
        names.append(called(log, event.whom, event.whom_alias))
    if event.thing != NONE:
        names.append(log.things[event.thing].name)
    if event.place != NONE:
        names.append(log.places[event.place].name)
    if event.number != NONE:
        names += [number_word(event.number), log.stocks[event.what].goods]
    if event.kind in (Kind.DISCOVER, Kind.TELL, Kind.OVERHEAR):
        names += [log.secrets[event.what].topic, "secret"]
    elif event.kind == Kind.PROMISE:
        names.append(log.promises[event.what].deed)
    elif event.kind == Kind.KEEP:
        names.append(log.promises[event.what].done)
    elif event.kind == Kind.DISGUISE:
        names += [log.aliases[event.what].name, log.aliases[event.what].garment]
    return names


def test_statements_stand_alone(told: tuple[Log, list[Passage]]) -> None:
    log, _ = told
    for one in range(0, len(log), 5):
        text = log.statement(one)
        assert re.fullmatch(r"[A-Z].*\.", text)
        for name in _names(log, log[one]):
            assert name.lower() in text.lower(), (name, text)
    with pytest.raises(IndexError):
        log.statement(len(log))


def test_neutral_passages_name_nobody_and_nothing_of_the_story(told: tuple[Log, list[Passage]]) -> None:
    log, passages = told
    names = {person.name for person in log.people} | {place.name for place in log.places}
    names |= {secret.topic for secret in log.secrets}
    for passage in passages:
        if passage.neutral:
            assert passage.events == ()
            assert not names & set(re.findall(r"[A-Z]\w+", passage.text)), passage.text
            assert not any(alias.name in passage.text for alias in log.aliases[:50])


def test_passages_without_events_name_no_place_of_the_story(told: tuple[Log, list[Passage]]) -> None:
    log, passages = told
    places = {place.name.split()[0] for place in log.places}
    for passage in passages:
        if not passage.events:
            assert not places & set(re.findall(r"[A-Z]\w+", passage.text)), passage.text


def test_names_are_unique_and_neighbours_are_named_apart(told: tuple[Log, list[Passage]]) -> None:
    log, _ = told
    for table in (log.people, log.places, log.things, log.aliases):
        names = [entity.name for entity in table]
        assert len(set(names)) == len(names)
    assert len({secret.topic for secret in log.secrets}) == len(log.secrets)


def test_names_outside_the_story_are_never_names_of_the_story() -> None:
    words = load_lexicon("fiction_names")
    stems = ["".join(parts) for parts in product(words["onsets"], words["vowels"], words["middles"])]
    story = {
        stem + ending
        for kind in ("women", "men", "places", "topics")
        for ending in words[f"endings_{kind}"]
        for stem in stems
    }
    far_stems = ["".join(parts) for parts in product(words["far_onsets"], words["far_rimes"])]
    for kind in ("towns", "surnames"):
        assert not story & {stem + ending for ending in words[f"endings_{kind}"] for stem in far_stems}
    coiner = Coiner(random.Random(0))
    coined = {coiner.person(gender) for gender in ("f", "m") for _ in range(5000)}
    assert not coined & set(words["far_forenames"])


def test_the_cast_grows_and_changes(told: tuple[Log, list[Passage]]) -> None:
    log, _ = told
    left = sum(log[one].kind == Kind.LEAVE for one in range(len(log)))
    assert left > 50
    assert len(log.people) - left < 20
    assert {log[one].kind for one in range(len(log))} == set(Kind)


@given(st.integers(0, 9_999_999))
def test_chapter_numbers_are_words(number: int) -> None:
    assert re.fullmatch(r"[A-Z][a-z]+(?:-[a-z]+)?(?: (?:and|[A-Z][a-z]+(?:-[a-z]+)?))*", ordinal_words(number))


def test_number_words() -> None:
    assert [number_word(number) for number in (0, 13, 40, 99)] == ["zero", "thirteen", "forty", "ninety-nine"]
    assert ordinal_words(1305) == "One Thousand Three Hundred and Five"
    with pytest.raises(ValueError, match="no word"):
        number_word(100)


def test_articles_and_capitals() -> None:
    assert [article(word) for word in ("oak", "hour", "one-eyed", "unicorn", "union", "Ural")] == [
        "an", "an", "a", "a", "a", "an",
    ]  # fmt: skip
    assert finish('@ oak. ^"@ ewe," ^said') == 'an oak. "A ewe," Said'


def test_a_broken_template_is_refused() -> None:
    for template, message in (
        ("{nothing}", "no rule"),
        ("[a|b", "unclosed"),
        ("a]", "outside"),
        ("{a b}", "cannot read"),
    ):
        with pytest.raises(ValueError, match=message):
            Grammar({"rule": [template]}, frozenset(), random.Random(0))


def test_word_lists_have_no_doubles_and_no_rule_twice() -> None:
    seen: set[str] = set()
    for file in (*GRAMMAR_FILES, "fiction_names"):
        rules = load_lexicon(file)
        assert not seen & set(rules)
        seen |= set(rules)
        for name, words in rules.items():
            assert words, name


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**12))
def test_any_seed_tells(seed: int) -> None:
    story = Story(seed)
    passages = list(islice(story, 200))
    assert sum(len(passage.events) for passage in passages) == len(story.log) > 30
