from __future__ import annotations

import random
import re
from collections import Counter
from difflib import SequenceMatcher
from itertools import islice

import pytest

from longctx.errors import ConfigError
from longctx.haystack.requests import Request, all_requests, exchanges, write
from longctx.records import Item
from longctx.tasks.repeated_requests import RepeatedRequests

EXCHANGE = re.compile(r"User: Write an? ([a-z ]+) about ([a-z]+)\. Assistant: ([^\n]+[.?])")
SMALL_TALK = re.compile(r"User: [A-Z][a-z, ]+\? Assistant: [A-Z][a-z ]+\.")
ASKED = re.compile(r"Start with (\w{10}) and .* of your ([a-z ]+) number (\d) about ([a-z]+), counted from 1\..*")


def answered(item: Item, filler: list[str]) -> str:
    """What the question asks for, read from the needles among filler as a reader would."""
    lines = [(needle.depth, number, needle.text) for number, needle in enumerate(item.needles)]
    lines += [((place + 0.5) / len(filler), 0, text) for place, text in enumerate(filler)]
    asked = ASKED.fullmatch(item.question)
    assert asked
    prefix, form, number, topic = asked.groups()
    found = []
    for _, _, text in sorted(lines):
        exchange = EXCHANGE.fullmatch(text)
        if exchange is None:
            assert SMALL_TALK.fullmatch(text), text
            continue
        if exchange.group(1, 2) == (form, topic):
            found.append(exchange[3])
    return prefix + found[int(number) - 1]


@pytest.mark.parametrize("repeats", [2, 4, 8])
def test_the_target_is_the_one_asked_for_whatever_the_filler(repeats: int) -> None:
    task = RepeatedRequests(repeats=repeats)
    filler = list(islice(exchanges(repeats), 300))
    numbers: Counter[int] = Counter()
    for seed in range(300):
        depth = random.Random(seed).choice([0.0, 0.25, 0.5, 1.0])
        item = task.item(random.Random(seed), depth)
        assert item.targets == (answered(item, filler),)
        asked = item.needles[item.support[0]]
        assert asked.depth == depth
        assert asked.text.endswith(item.targets[0][10:])
        assert [needle.depth for needle in item.needles] == sorted(needle.depth for needle in item.needles)
        assert len(item.support) == item.hops
        assert item.targets == (answered(short(item), []),)
        same = [needle for needle in item.needles if asked.text.split(" Assistant")[0] in needle.text]
        assert len(same) == repeats
        assert len(item.needles) == repeats + 4
        assert len({needle.text for needle in item.needles}) == repeats + 4
        numbers[item.hops] += 1
    assert set(numbers) == set(range(1, repeats + 1))


def short(item: Item) -> Item:
    """The item with nothing but its support, in the order of the text."""
    needles = tuple(item.needles[place] for place in sorted(item.support))
    return Item(needles, item.question, item.answer_prefix, item.targets)


def test_no_other_request_can_be_the_one_asked_for() -> None:
    kept, others = all_requests(reserved=True), all_requests(reserved=False)
    assert not set(kept) & set(others)
    assert len(kept) > 220
    assert len({request.text for request in kept + others}) == len(kept) + len(others)
    for part in (kept, others):
        assert len({request.form for request in part}) == 12
        assert len({request.topic for request in part}) > 90
    texts = {request.text for request in kept}
    for exchange in islice(exchanges(5), 5000):
        assert exchange.removeprefix("User: ").split(" Assistant: ")[0] not in texts


def test_requests_for_two_items_differ_wherever_their_questions_do() -> None:
    task = RepeatedRequests()
    items = [task.item(random.Random(seed), 0.5) for seed in range(1000)]
    requests = {item.question: re.sub(r"Start with \w+|number \d", "", item.question) for item in items}
    assert len(set(requests.values())) == len(requests)


def test_pieces_have_25_to_60_words_and_name_their_topic() -> None:
    rng = random.Random(0)
    requests = all_requests(reserved=True) + all_requests(reserved=False)
    for _ in range(5000):
        request = rng.choice(requests)
        piece = write(request, rng)
        assert 25 <= len(piece.split()) <= 60
        assert request.topic in piece
        assert piece.isascii()
        assert re.fullmatch(r"[A-Z][^\n]*\.", piece)
        assert not re.search(r"  |@|\||User:|Assistant:|\b[Aa] [aeiou]", piece), piece


def test_filler_is_endless_seeded_and_says_little_twice() -> None:
    chat = list(islice(exchanges(1), 4000))
    assert list(islice(exchanges(1), 20)) == chat[:20]
    assert not [text for text in islice(exchanges(2), 500) if EXCHANGE.fullmatch(text) and text in chat]
    assert len(set(chat)) == len(chat)
    written = [exchange for exchange in chat if EXCHANGE.fullmatch(exchange)]
    assert 0.7 * len(chat) < len(written) < 0.9 * len(chat)
    assert all(SMALL_TALK.fullmatch(exchange) for exchange in set(chat) - set(written))
    words = " ".join(exchange.split("Assistant: ")[1] for exchange in written).split()
    grams = Counter(zip(*(words[i:] for i in range(8)), strict=False))
    assert sum(count - 1 for count in grams.values()) / sum(grams.values()) < 0.02
    assert max(Counter(exchange.split("Assistant")[0] for exchange in written).values()) >= 8


def test_articles_fit_their_forms() -> None:
    assert Request("poem", "owls").text == "Write a poem about owls."
    assert all(request.text.startswith("Write a ") for request in all_requests(reserved=True))


def test_the_same_seed_gives_the_same_item() -> None:
    task = RepeatedRequests(repeats=4)
    assert task.item(random.Random(7), 0.5) == task.item(random.Random(7), 0.5)
    assert task.item(random.Random(7), 0.5) != task.item(random.Random(8), 0.5)


TARGET = "wT3kVq9ZbA" + "Say what tapirs have in common. Amber kings greet tapirs under the stars."


@pytest.mark.parametrize(
    ("answer", "value", "strict", "near"),
    [
        (TARGET, 1.0, 1.0, False),
        (f" {TARGET}\n", 1.0, 1.0, False),
        (f'"{TARGET}', 0.0, 0.0, True),  # something stands before the prefix
        (TARGET[10:], 0.0, 0.0, False),
        (TARGET[:10], 0.0, 0.0, False),
        ("", 0.0, 0.0, False),
        (f"Here it is: {TARGET}", 0.0, 0.0, False),
        (TARGET[1:], 0.0, 0.0, True),
    ],
)
def test_scores(answer: str, value: float, strict: float, near: bool) -> None:
    score = RepeatedRequests().score(answer, (TARGET,))
    assert (score.value, score.strict, score.near_miss) == (value, strict, near)


@pytest.mark.parametrize("rest", ["Tapirs nap.", " " + TARGET[10:], TARGET[10:] * 3, "no " * 500 + "no"])
def test_the_score_is_difflibs_ratio_of_what_follows_the_prefix(rest: str) -> None:
    score = RepeatedRequests().score(TARGET[:10] + rest, (TARGET,))
    assert score.value == SequenceMatcher(None, rest, TARGET[10:]).ratio()
    assert score.value < 1.0
    assert score.strict == 0.0


def test_another_reply_scores_low_and_is_never_strictly_right() -> None:
    task = RepeatedRequests(repeats=8)
    for seed in range(50):
        item = task.item(random.Random(seed), 0.5)
        (target,) = item.targets
        for needle in item.needles:
            piece = needle.text.split("Assistant: ")[1]
            score = task.score(target[:10] + piece, item.targets)
            assert (score.strict == 1.0) == (score.value == 1.0) == (piece == target[10:])


@pytest.mark.parametrize(("answer", "ends"), [(TARGET, False), ("\n\n " + TARGET, False), (TARGET + " \n", True)])
def test_an_answer_ends_with_its_line(answer: str, ends: bool) -> None:
    assert bool(re.search(RepeatedRequests.stop, answer)) == ends


@pytest.mark.parametrize(
    ("options", "message"),
    [({"repeats": 3}, "repeats is 3; it must be one of 2, 4, 8"), ({"max_new_tokens": 16}, "max_new_tokens is 16")],
)
def test_illegal_options_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        RepeatedRequests(**options)
