from __future__ import annotations

import itertools
import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.errors import ConfigError
from longctx.records import Listing, Score
from longctx.tasks.base import ListTask
from longctx.tasks.ruler_questions import BridgeQuestion, SingleQuestion

QA_1, QA_2 = SingleQuestion(), BridgeQuestion()
each_task = pytest.mark.parametrize("task", [QA_1, QA_2], ids=["qa_1", "qa_2"])

NAME = r"[A-Z][a-z]+ [A-Z][a-z]+"
# How a document says what can be asked, and the question for it: a second reading of the text.
READINGS = {
    "birthplace": (r"(?:born in|Born in) ([A-Z]\w+) in \d{4}", r"In which town was (.+) born\?"),
    "deathplace": (r"(?:died in|ended in) ([A-Z]\w+)\b(?: in \d|, where)", r"In which town did (.+) die\?"),
    "teacher": (rf"(?:was taught by|pupil of) ({NAME})|({NAME}) taught h", r"Who taught (.+)\?"),
    "book": (
        r"(?:only book|single book), (The [A-Z]\w+ [A-Z]\w+),",
        r"What is the title of the only book by (.+)\?",
    ),
}


def documents(listing: Listing) -> list[str]:
    """The texts, whose numbers must be 1, 2, 3 ..."""
    found = re.findall(r"\n\nDocument (\d+):\n([^\n]+)", "".join(listing.entries))
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    return [text for _, text in found]


def subject(text: str) -> str:
    """Whom or what a document is about."""
    match = re.match(
        rf"({NAME}) was an? |Born in \w+ in \d+, ({NAME}) became|The (.+) stands in|Opened in \d+, the (.+) is a", text
    )
    assert match, text
    return str(next(filter(None, match.groups())))


def fact(text: str, kind: str) -> str:
    match = re.search(READINGS[kind][0], text)
    assert match, (kind, text)
    return str(next(filter(None, match.groups())))


def asked(listing: Listing) -> str:
    match = re.search(READINGS[listing.kind][1], listing.question)
    assert match, listing.question
    return str(match[1])


def answer_by_reading(listing: Listing) -> list[str]:
    """All answers to the question that the documents give."""
    by_subject: dict[str, list[str]] = {}
    for text in documents(listing):
        by_subject.setdefault(subject(text), []).append(text)
    people = [asked(listing)]
    bridge = re.fullmatch(r"the person who designed the (.+)", people[0])
    if bridge:
        pattern = rf"(?:designed by|designer was) ({NAME})"
        people = [found for text in by_subject[bridge[1]] for found in re.findall(pattern, text)]
    return [fact(text, listing.kind) for name in people for text in by_subject[name]]


@each_task
def test_the_documents_give_one_answer_and_it_is_the_target(task: ListTask) -> None:
    kinds = Counter[str]()
    for seed in range(300):
        listing = task.listing(random.Random(seed), 0.5, 12)
        assert answer_by_reading(listing) == list(listing.targets)
        kinds[listing.kind] += 1
    assert min(kinds[kind] for kind in READINGS) > 40


@each_task
def test_only_the_last_document_of_the_support_contains_the_target(task: ListTask) -> None:
    for seed in range(200):
        listing = task.listing(random.Random(seed), 0.3, 20)
        (target,) = listing.targets
        found = [place for place, text in enumerate(documents(listing)) if target.lower() in text.lower()]
        assert found == [listing.support[-1]]
        assert target.lower() not in (listing.question + listing.answer_prefix + task.instruction).lower()


def test_only_the_support_leads_to_the_answer() -> None:
    for seed in range(200):
        listing = QA_2.listing(random.Random(seed), 0.3, 20)
        texts = documents(listing)
        about_building, about_person = (texts[place] for place in listing.support)
        assert subject(about_building) in listing.question
        assert subject(about_person) in about_building
        assert subject(about_person) not in listing.question
        assert {place for place, text in enumerate(texts) if subject(about_person) in text} == set(listing.support)
        assert listing.hops == 2


@each_task
@given(num_entries=st.integers(2, 200), depth=st.floats(0.0, 1.0), seed=st.integers(0, 2**32))
def test_the_first_document_of_the_support_stands_at_the_depth(
    task: ListTask, num_entries: int, depth: float, seed: int
) -> None:
    listing = task.listing(random.Random(seed), depth, num_entries)
    assert len(listing.entries) == len(documents(listing)) == num_entries
    assert abs(listing.support[0] - depth * (num_entries - 1)) <= 0.5
    assert len(set(listing.support)) == task.min_entries
    assert asked(listing).removeprefix("the person who designed the ") == subject(
        documents(listing)[listing.support[0]]
    )


@each_task
def test_the_fewest_documents_are_those_that_are_needed(task: ListTask) -> None:
    for depth in (0.0, 0.5, 1.0):
        listing = task.listing(random.Random(0), depth, task.min_entries)
        assert sorted(listing.support) == list(range(task.min_entries))
        assert answer_by_reading(listing) == list(listing.targets)


@each_task
def test_everyone_has_one_document_and_some_share_the_surname(task: ListTask) -> None:
    listing = task.listing(random.Random(1), 0.5, 2000)
    subjects = [subject(text) for text in documents(listing)]
    assert len(set(subjects)) == len(subjects)
    person = subject(documents(listing)[listing.support[-1]])
    namesakes = [name for name in subjects if name.split()[-1] == person.split()[-1]]
    assert 5 <= len(namesakes) <= 14


@each_task
def test_lives_and_works_are_possible(task: ListTask) -> None:
    """People die after they are born and write and build in between."""
    texts = documents(task.listing(random.Random(2), 0.5, 400))
    lives = {}
    for text in texts:
        years = [int(year) for year in re.findall(r" in (\d{4})\b", text)]
        if len(years) == 2:
            lives[subject(text)] = years
            assert 45 <= years[1] - years[0] < 90
            assert fact(text, "birthplace") != fact(text, "deathplace")
            assert fact(text, "teacher").split()[-1] != subject(text).split()[-1]
            assert ("She " in text or " she " in text) != ("He " in text or " he " in text)
    for text in texts:
        designer = re.search(rf"(?:designed by|designer was) ({NAME})", text)
        if designer and designer[1] in lives:
            (opened,) = re.findall(r"[Oo]pened in (\d{4})", text)
            born, died = lives[designer[1]]
            assert born + 25 <= int(opened) < died


@each_task
def test_answers(task: ListTask) -> None:
    listing = task.listing(random.Random(7), 0.5, 30)
    (target,) = listing.targets
    for answer in (target, f" {target}.", target.upper(), f"\n{target}\n\nQuestion: What else?"):
        assert task.score(answer, listing.targets) == Score(1.0, near_miss=False, strict=1.0)
    for answer in ("", "It is not said.", "I have read all of the documents with care. " * 5):
        assert task.score(answer, listing.targets) == Score(0.0, near_miss=False, strict=0.0)
    whole = documents(listing)[listing.support[-1]]
    assert task.score(whole, listing.targets) == Score(1.0, near_miss=False, strict=0.0)
    for place in set(range(30)) - {listing.support[-1]}:
        assert task.score(documents(listing)[place], listing.targets).value == 0.0


@each_task
def test_the_same_seed_makes_the_same_documents_and_another_one_others(task: ListTask) -> None:
    assert task.listing(random.Random(3), 0.5, 40) == task.listing(random.Random(3), 0.5, 40)
    assert len({task.listing(random.Random(seed), 0.5, 4).question for seed in range(50)}) == 50


@each_task
def test_what_is_asked_does_not_depend_on_the_number_of_documents(task: ListTask) -> None:
    seen = {
        (listing.question, listing.targets)
        for depth, count in itertools.product((0.0, 0.7), (2, 3, 50))
        for listing in [task.listing(random.Random(9), depth, count)]
    }
    assert len(seen) == 1


def test_rulers_room_and_kinds() -> None:
    assert (QA_1.max_new_tokens, QA_2.max_new_tokens) == (32, 32)
    assert (QA_1.measures, QA_2.measures) == ("retrieves", "reasons")


@pytest.mark.parametrize("task", [SingleQuestion, BridgeQuestion])
def test_no_room_is_an_error(task: type[ListTask]) -> None:
    with pytest.raises(ConfigError, match="max_new_tokens is 0; it must be at least 1"):
        task(max_new_tokens=0)
