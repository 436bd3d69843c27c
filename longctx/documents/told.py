"""Documents of tasks about a story: the story as far as the context reaches, full to the last token.

Nothing is inserted. A question is asked about events near the cell's depth, and is right for the events that
the document tells, no more and no fewer. All questions of a trial share their story, so they cost hardly more
than one, whatever their lengths and depths.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np

from longctx.documents.frame import Frame, Reach, make_document, repeated_share, text_between
from longctx.documents.isolated import Fill, exact_fill
from longctx.documents.splice import check_join, sentence
from longctx.documents.stories import StoryTrial
from longctx.errors import BudgetError
from longctx.fiction.log import Log
from longctx.lengths import format_length
from longctx.records import Bytes, Cell, Recall, Sample, TokenIds

_MAX_CORRECTIONS = 8
# More than a question with its template takes.
_QUESTION_TOKENS = 192


@dataclass(frozen=True, slots=True)
class Told:
    sample: Sample
    asked: Recall


Ask = Callable[[Log, int, int, Random], Recall | None]


def build_told(frame: Frame, trial: StoryTrial, length: int, depth: float, ask: Ask) -> Told:
    """The sample of one cell: prompt tokens + room for the completion == `length`.

    Raises BudgetError if the story as far as it is told then has no such question.
    """
    cell = Cell(frame.task, length, depth, trial.number)
    haystack = trial.haystack
    room = length - len(frame.head(sentence(haystack, 0))) - frame.max_new_tokens
    # How many events are told is settled first, for a question that takes no more than this.
    count = int(np.searchsorted(haystack.starts, room - _QUESTION_TOKENS, side="right")) - 1
    num_events = trial.num_events(max(0, count))
    near = trial.num_events(int(np.searchsorted(haystack.starts, depth * room)))
    asked = (
        ask(trial.log, num_events, min(near, num_events - 1), frame.rng(trial.number, depth)) if num_events else None
    )
    if asked is None:
        raise BudgetError(
            f"{frame.task} has no question for {format_length(length)} tokens at depth {depth:.0%} of this story; "
            "take a longer context or other options."
        )
    following = trial.event_sentences[num_events : num_events + 1]
    max_count = int(following[0]) if len(following) else haystack.num_sentences
    min_count = int(trial.event_sentences[num_events - 1]) + 1
    num_filler = room - frame.tail(sentence(haystack, max(0, count - 1)), asked).num_added
    for _ in range(_MAX_CORRECTIONS):
        fill = exact_fill(haystack, num_filler, min_count, max_count)
        if trial.num_events(fill.count) != num_events:
            break
        sample = _build(frame, trial, cell, asked, fill, frame.max_new_tokens + fill.num_left)
        difference = length - sample.prompt.num_tokens - sample.prompt.max_new_tokens
        if difference == 0:
            return Told(sample, asked)
        num_filler += difference
    raise BudgetError(f"The story has no exact end near {format_length(length)} tokens for {asked.question!r}.")


def _build(frame: Frame, trial: StoryTrial, cell: Cell, asked: Recall, fill: Fill, room: int) -> Sample:
    haystack, count, closers = trial.haystack, fill.count, fill.closers
    order = [count - 1, *closers]
    for left, right in itertools.pairwise(order):
        check_join(sentence(haystack, left), sentence(haystack, right), frame.tokenizer)
    tokens: list[TokenIds] = [haystack.token_ids[: haystack.starts[count]]]
    parts: list[Bytes] = [text_between(haystack, 0, count)]
    for index in closers:
        tokens.append(sentence(haystack, index).token_ids)
        parts.append(text_between(haystack, index, index + 1))
    document = make_document(tokens, parts, repeated_share(haystack, count))
    support = [int(trial.event_sentences[event]) for event in asked.support_events]
    reach = Reach(
        num_tokens=len(document.token_ids),
        num_text_bytes=sum(map(len, parts)),
        last=sentence(haystack, order[-1]),
        support=tuple(slice(int(haystack.starts[index]), int(haystack.starts[index + 1])) for index in support),
    )
    return frame.sample(cell, asked, frame.head(sentence(haystack, 0)), document, reach, max_new_tokens=room)
