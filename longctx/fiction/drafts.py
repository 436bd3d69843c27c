"""A question before it is worded: what it asks, what it rests on, and its answer and candidates in words."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

from longctx.fiction.events import NONE
from longctx.fiction.moment import Moment
from longctx.fiction.naming import number_word

Answers = Literal["person", "place", "number", "listed", "deed"]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a maker of questions has found."""

    form: str
    slots: dict[str, str]
    support: set[int]
    answers: Answers
    answer: int = NONE
    """A person, a place, a number or a promise, by `answers`."""
    listed: list[str] = field(default_factory=list)
    """The candidates, the right one first, where the question itself lists them."""


def answer_text(moment: Moment, draft: Draft) -> str:
    """The right answer in words."""
    if draft.answers == "listed":
        return draft.listed[0]
    return _in_words(moment, draft, draft.answer)


def candidates(moment: Moment, draft: Draft, rng: random.Random, number: int) -> tuple[str, ...]:
    """A closed set of answers in no order, the right one among them."""
    if draft.answers == "listed":
        chosen = list(draft.listed)
    else:
        if draft.answers == "person":
            others = moment.people_like(draft.answer, rng, number - 1)
        elif draft.answers == "place":
            others = moment.places_like(draft.answer, rng, number - 1)
        elif draft.answers == "number":
            near = [
                other for other in range(max(0, draft.answer - 8), min(99, draft.answer + 8)) if other != draft.answer
            ]
            others = rng.sample(near, k=number - 1)
        else:
            known = [other for other in range(draft.answer - 12, draft.answer + 13) if 0 <= other < moment.end]
            others = [
                other
                for other in known
                if other != draft.answer
                and other < len(moment.log.promises)
                and moment.log.promises[other].first < moment.end
            ][: number - 1]
        # Two promises may be worded the same: one candidate.
        chosen = list(dict.fromkeys(_in_words(moment, draft, one) for one in (draft.answer, *others)))
    rng.shuffle(chosen)
    return tuple(chosen)


def _in_words(moment: Moment, draft: Draft, one: int) -> str:
    if draft.answers == "person":
        return moment.log.people[one].name
    if draft.answers == "place":
        return moment.log.places[one].name
    return number_word(one) if draft.answers == "number" else moment.log.promises[one].deed
