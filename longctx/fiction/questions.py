"""Questions about the story, with exact answers and the events they rest on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from longctx.fiction.drafts import Draft, answer_text, candidates
from longctx.fiction.index import Ids
from longctx.fiction.log import Log
from longctx.fiction.makers import MAKERS
from longctx.fiction.moment import Moment
from longctx.fiction.wording import FORMS, KINDS, upper_first

__all__ = ["KINDS", "Question", "Wanted", "ask"]

MAX_HOPS = 4
NUM_CANDIDATES = 8
_NUM_TRIES = 80
_NUM_TRIES_NEAR = 150
_NUM_COMPARED = 3


@dataclass(frozen=True, slots=True)
class Question:
    kind: str
    hops: int
    """Number of supporting events."""
    text: str
    answer_prefix: str
    """Beginning of the answer sentence, to be completed by the model; may be empty."""
    answer: str
    candidates: tuple[str, ...]
    """A closed set in no order that holds the answer: guessing is right once in len(candidates)."""
    support: tuple[int, ...]
    """Ids of the events that are needed, ascending."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a question's supporting events must be like."""

    hops: int | None = None
    """Their number; None for any."""
    min_span: int = 0
    """Least number of events from the first supporting one to the last."""
    max_span: int | None = None
    """Most of them; None for any."""
    min_distractors: int = 0
    """Least number of other events about the people and things in them."""

    def accepts(self, moment: Moment, support: set[int]) -> bool:
        if len(support) > MAX_HOPS or self.hops not in (None, len(support)):
            return False
        span = max(support) - min(support)
        if span < self.min_span or (self.max_span is not None and span > self.max_span):
            return False
        return self.min_distractors == 0 or len(moment.distractors(support)) >= self.min_distractors


def ask(
    log: Log,
    num_events: int,
    rng: random.Random,
    *,
    kinds: Sequence[str] = KINDS,
    wanted: Wanted = Wanted(),
    near: int | None = None,
) -> Question | None:
    """A question about the first `num_events` events; None if none was found that is as wanted.

    With `near`, of some questions of one kind the one whose first supporting event is nearest to
    that event. Raises ValueError for an unknown kind.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"no such kinds of question: {', '.join(sorted(unknown))}")
    moment = Moment(log, num_events)
    for kind in rng.sample(list(kinds), k=len(kinds)):
        makers = [(make, starts) for name, make, starts in MAKERS if name == kind]
        found: list[Question] = []
        for make, starts in rng.sample(makers, k=len(makers)):
            ids = np.sort(np.concatenate([moment.index.ids_of_kind[start] for start in starts]))
            for anchor in _anchors(ids[: int(np.searchsorted(ids, moment.end))], near, rng):
                draft = make(moment, anchor, rng)
                if draft is None or not wanted.accepts(moment, draft.support):
                    continue
                if (question := _worded(moment, draft, rng)) is not None:
                    found.append(question)
                    if near is None or len(found) >= _NUM_COMPARED:
                        break
            if found and near is None:
                break
        if found:
            return (
                min(found, key=lambda question: abs(question.support[0] - (near or 0)))
                if near is not None
                else found[0]
            )
    return None


def _anchors(ids: Ids, near: int | None, rng: random.Random) -> Iterator[int]:
    """Events to start from: any, or outwards from `near`."""
    if len(ids) == 0:
        return
    if near is None:
        yield from (int(ids[int(rng.random() * len(ids))]) for _ in range(_NUM_TRIES))
        return
    middle = int(np.searchsorted(ids, near))
    for step in range(_NUM_TRIES_NEAR):
        place = middle + (step // 2 if step % 2 == 0 else -1 - step // 2)
        if 0 <= place < len(ids):
            yield int(ids[place])


def _worded(moment: Moment, draft: Draft, rng: random.Random) -> Question | None:
    form = FORMS[draft.form]
    choices = candidates(moment, draft, rng, NUM_CANDIDATES)
    if len(choices) < 2:
        return None
    return Question(
        kind=form.kind,
        hops=len(draft.support),
        text=upper_first(rng.choice(form.patterns).format_map(draft.slots)),
        answer_prefix=upper_first(form.prefix.format_map(draft.slots)),
        answer=answer_text(moment, draft),
        candidates=choices,
        support=tuple(sorted(draft.support)),
    )
