from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.fiction.checker import answerable_from, check
from longctx.fiction.events import CLAIMS, NONE, Event, Kind, Person, Place
from longctx.fiction.log import Log, add
from longctx.fiction.questions import KINDS, Question, Wanted, ask
from longctx.fiction.story import Story
from longctx.fiction.wording import FORMS, read

SEEDS = (0, 1, 2)


def _log(seed: int, num_passages: int = 4000) -> Log:
    story = Story(seed)
    for _ in islice(story, num_passages):
        pass
    return story.log


@pytest.fixture(scope="module")
def logs() -> list[Log]:
    return [_log(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def asked(logs: list[Log]) -> list[tuple[Log, int, Question]]:
    """2,400 questions at four points of each story; half of them near a chosen event."""
    found = []
    for log in logs:
        rng = random.Random(len(log))
        for part in (1, 2, 3, 4):
            end = len(log) * part // 4
            for number in range(200):
                question = ask(log, end, rng, near=rng.randrange(end) if number % 2 else None)
                assert question is not None
                found.append((log, end, question))
    return found


def test_the_checker_agrees_on_every_answer(asked: list[tuple[Log, int, Question]]) -> None:
    assert len(asked) >= 2000
    for log, end, question in asked:
        assert check(log, end, question) == question.answer, question


def test_every_answer_follows_from_the_supporting_events_alone(asked: list[tuple[Log, int, Question]]) -> None:
    for log, end, question in asked:
        assert answerable_from(log, question) == question.answer, question
        assert question.support == tuple(sorted(set(question.support)))
        assert 0 <= question.support[0] <= question.support[-1] < end
        assert question.hops == len(question.support) <= 4


def test_no_supporting_event_can_be_left_out(asked: list[tuple[Log, int, Question]]) -> None:
    """Without one of them there is no answer or, where an event changes what was so, another one."""
    needless = 0
    # A kept promise only shows that it is not the broken one, and the truth only that a belief is wrong.
    loose = ("not_done", "wrong_belief")
    several = [(log, question) for log, _, question in asked if question.hops > 1 and question.kind not in loose]
    for log, question in several:
        for one in question.support:
            rest = replace(question, support=tuple(other for other in question.support if other != one))
            try:
                needless += answerable_from(log, rest) == question.answer
            except ValueError:
                continue
    # By chance a thing may lie where it would be without one of its journeys.
    assert needless <= len(several) // 100


def test_candidates_are_a_closed_set_with_the_answer(asked: list[tuple[Log, int, Question]]) -> None:
    for _, _, question in asked:
        assert question.answer in question.candidates
        assert len(set(question.candidates)) == len(question.candidates) >= 2


def test_all_kinds_and_hops_come(asked: list[tuple[Log, int, Question]]) -> None:
    kinds = Counter(question.kind for _, _, question in asked)
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) > 100
    assert {question.hops for _, _, question in asked} == {1, 2, 3, 4}


def _changed(log: Log, event_id: int, event: Event) -> Log:
    """The same log with another event in one place."""
    changed = Log()
    for table in ("people", "places", "things", "aliases", "secrets", "promises", "stocks"):
        getattr(changed, table).extend(getattr(log, table))
    for one in range(len(log)):
        changed.append(event if one == event_id else log[one])
    return changed


def test_a_wrong_event_in_the_log_is_caught(logs: list[Log]) -> None:
    """The checker answers from the log, so a question made from another log does not pass."""
    log = logs[0]
    question = ask(log, len(log), random.Random(5), kinds=["who_gave"], wanted=Wanted(hops=1))
    assert question is not None
    assert question.text.startswith("To whom")
    (support,) = question.support
    wrong = next(name for name in question.candidates if name != question.answer)
    other = next(number for number, person in enumerate(log.people) if person.name == wrong)
    changed = _changed(log, support, replace(log[support], whom=other, whom_alias=NONE))
    assert check(_changed(log, support, log[support]), len(log), question) == question.answer
    assert check(changed, len(log), question) == wrong


def test_a_support_that_is_not_enough_is_caught(logs: list[Log]) -> None:
    rng = random.Random(5)
    tries = (ask(logs[0], len(logs[0]), rng, kinds=["where_now"], wanted=Wanted(hops=2)) for _ in range(50))
    question = next(question for question in tries if question is not None)
    with pytest.raises(ValueError, match="answers"):
        answerable_from(logs[0], replace(question, support=question.support[1:]))


def test_hops_span_and_nearness_are_kept(logs: list[Log]) -> None:
    log, rng = logs[1], random.Random(3)
    for hops in (1, 2, 3, 4):
        for _ in range(10):
            question = ask(log, len(log), rng, wanted=Wanted(hops=hops))
            assert question is not None
            assert question.hops == hops
    question = ask(log, len(log), rng, wanted=Wanted(min_span=100, max_span=400))
    assert question is not None
    assert 100 <= question.support[-1] - question.support[0] <= 400
    near = [ask(log, len(log), rng, near=300) for _ in range(40)]
    assert sum(abs(one.support[0] - 300) < 200 for one in near if one) > 20


def test_a_question_has_the_distractors_that_were_wanted(logs: list[Log]) -> None:
    """Counted here by reading every event."""
    log, rng, fewest = logs[0], random.Random(4), 60
    for _ in range(10):
        question = ask(log, len(log), rng, wanted=Wanted(min_distractors=fewest))
        assert question is not None
        support = [log[one] for one in question.support]
        people = {one for event in support for one in (event.who, event.whom)} - {NONE}
        things = {event.thing for event in support} - {NONE}
        others = [log[one] for one in range(len(log)) if one not in question.support]
        assert sum(bool({one.who, one.whom} & people) or one.thing in things for one in others) >= fewest
    unlimited = [ask(log, 400, random.Random(number)) for number in range(30)]
    assert unlimited != [ask(log, 400, random.Random(n), wanted=Wanted(min_distractors=fewest)) for n in range(30)]


def test_what_cannot_be_asked(logs: list[Log]) -> None:
    assert ask(logs[0], 0, random.Random(0)) is None
    assert ask(logs[0], 500, random.Random(0), wanted=Wanted(min_span=10_000)) is None
    with pytest.raises(ValueError, match="no such kinds"):
        ask(logs[0], 500, random.Random(0), kinds=["why"])
    with pytest.raises(ValueError, match="not a question"):
        read("Why?")


def test_the_same_seed_asks_the_same(logs: list[Log]) -> None:
    again = _log(0)
    first = [ask(logs[0], len(again), random.Random(number)) for number in range(20)]
    assert first == [ask(again, len(again), random.Random(number)) for number in range(20)]


def test_a_saved_log_asks_the_same(logs: list[Log], tmp_path: Path) -> None:
    logs[0].save(tmp_path / "log.npz")
    loaded = Log.load(tmp_path / "log.npz")
    assert len(loaded) == len(logs[0])
    assert all(loaded[one] == logs[0][one] for one in range(0, len(loaded), 7))
    assert ask(loaded, 500, random.Random(1)) == ask(logs[0], 500, random.Random(1))
    (tmp_path / "other").write_text("{}\n")
    with pytest.raises(ValueError, match="not an event log"):
        Log.load(tmp_path / "other")


def test_wordings_read_back() -> None:
    filled = {
        "thing": "the pewter flask", "person": "Maro", "place": "Tarel Mill", "topic": "Orven", "people": "A, B or C",
        "chain": "", "events": "A married B; C left", "goods": "sacks of rye", "alias": "the man in the red hat",
        "other": "B",
    }  # fmt: skip
    for name, form in FORMS.items():
        for pattern in form.patterns:
            text = pattern.format_map(filled)
            found, slots = read(text[0].upper() + text[1:])
            assert found == name, text
            assert {slot: value.lower() for slot, value in slots.items()} == {
                slot: filled[slot].lower() for slot in slots
            }


def _told(*events: Event) -> Log:
    log = Log()
    for name in ("Ara", "Bo", "Cam"):
        add(log.people, Person(name, "f", "cooper", 0))
    for name in ("Tarel Mill", "Dun Quay", "Os Inn", "Pel Weir"):
        add(log.places, Place(name, 0))
    from longctx.fiction.events import Thing

    add(log.things, Thing("the pewter flask", 0))
    for event in events:
        log.append(event)
    return log


def test_a_lie_is_believed_until_the_truth_is_learned() -> None:
    story = (
        Event(Kind.ARRIVE, 0, place=0),
        Event(Kind.ARRIVE, 1, place=1),
        Event(Kind.OBTAIN, 0, thing=0),
        Event(Kind.HIDE, 0, thing=0, place=0),
        Event(Kind.LIE, 0, 1, thing=0, place=2),
    )
    question = ask(_told(*story), 5, random.Random(0), kinds=["wrong_belief"])
    assert question is not None
    assert (question.answer, question.support) == ("Os Inn", (3, 4))
    learned = _told(*story, Event(Kind.LEARN, 1, thing=0, place=0))
    assert ask(learned, 6, random.Random(0), kinds=["wrong_belief"]) is None
    with pytest.raises(ValueError, match="0 answers"):
        check(learned, 6, question)


def test_a_thing_goes_where_its_holder_goes() -> None:
    log = _told(
        Event(Kind.ARRIVE, 0, place=0),
        Event(Kind.OBTAIN, 0, thing=0),
        Event(Kind.MOVE, 1, place=0),
        Event(Kind.GIVE, 0, 1, thing=0),
        Event(Kind.MOVE, 0, place=2),
        Event(Kind.MOVE, 1, place=1),
    )
    question = ask(log, 6, random.Random(1), kinds=["where_now"], wanted=Wanted(hops=2))
    assert question is not None
    assert (question.answer, question.support) == ("Dun Quay", (3, 5))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9), end=st.integers(1, 300))
def test_the_simulation_never_contradicts_itself(seed: int, end: int) -> None:
    """People act where they stand, give what they have, keep what they promised, count what is there."""
    log = _log(seed, 500)
    stands: dict[int, int] = {}
    has: dict[int, int] = {}
    stock: dict[int, int] = {}
    for one in range(min(end, len(log))):
        event = log[one]
        kind = event.kind
        if kind in (Kind.ARRIVE, Kind.MOVE):
            stands[event.who] = event.place
        elif event.place != NONE and kind not in CLAIMS:
            assert stands[event.who] == event.place
        if event.whom != NONE:
            assert stands[event.who] == stands[event.whom]
        if kind in (Kind.PUT, Kind.HIDE, Kind.LOSE, Kind.GIVE, Kind.LEND, Kind.REPAIR):
            assert has[event.thing] == event.who
        if kind in (Kind.OBTAIN, Kind.TAKE):
            assert event.thing not in has or has[event.thing] == NONE
        if event.thing != NONE and kind not in (Kind.REPAIR, Kind.LIE, Kind.LEARN):
            has[event.thing] = {Kind.OBTAIN: event.who, Kind.TAKE: event.who}.get(kind, event.whom)
        if kind == Kind.COUNT:
            assert stock.setdefault(event.what, event.number) == event.number
        elif kind in (Kind.ADD, Kind.REMOVE):
            stock[event.what] += event.number if kind == Kind.ADD else -event.number
            assert stock[event.what] > 0
