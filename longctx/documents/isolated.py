"""The isolated design: a document of its own for every cell. Prompt and room for the completion are the context length.

All documents of a trial start from the same filler, and a needle's wording depends on the trial
and the depth alone. So lengths are compared on the same facts, and prompts share the filler before
their needles.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longctx.documents.frame import Frame, Reach, Trial, make_document, repeated_share, text_between
from longctx.documents.splice import Piece, check_join, encode_after, encode_alone, sentence
from longctx.errors import BudgetError
from longctx.lengths import format_length
from longctx.records import Bytes, Cell, Haystack, Item, Needle, Sample, TokenIds

# Fewest filler tokens of a document; with less there is no depth to speak of.
_MIN_FILLER_TOKENS = 64
_CLOSER_WINDOW = 128
_MAX_STEPS_BACK = 16
_MAX_CORRECTIONS = 4


def build_isolated(frame: Frame, trial: Trial, length: int, depth: float, item: Item) -> Sample:
    """The sample of one cell: prompt tokens + room for the completion == `length`.

    Raises BudgetError if the length is too short for the question.
    """
    cell = Cell(frame.task, length, depth, trial.number)
    first = sentence(trial.haystack, 0)
    needles = sum(len(encode_alone(f" {needle.text}", frame.tokenizer).token_ids) for needle in item.needles)
    overhead = len(frame.head(first)) + frame.tail(first, item).num_added + frame.max_new_tokens + needles
    if length < overhead + _MIN_FILLER_TOKENS:
        raise BudgetError(
            f"A context of {format_length(length)} tokens is too short for {frame.task}: template, needles, "
            f"question and room for the answer take {overhead}; the shortest is {overhead + _MIN_FILLER_TOKENS}."
        )
    num_filler = length - overhead
    for _ in range(_MAX_CORRECTIONS):
        fill = exact_fill(trial.haystack, num_filler)
        room = frame.max_new_tokens + fill.num_left
        sample = _build(frame, trial, cell, item, fill, room)
        difference = length - sample.prompt.num_tokens - room
        if difference == 0:
            return sample
        num_filler += difference  # a piece is another number of tokens beside these sentences
    raise BudgetError(f"No document of exactly {length} tokens was found for {cell}.")


@dataclass(frozen=True, slots=True)
class Fill:
    """A way to take whole sentences for a number of tokens: the first `count` in order, then the closers."""

    count: int
    closers: tuple[int, ...] = ()
    num_left: int = 0
    """Tokens that no whole sentences reach; 0 but for sources whose sentences are of one length or a few."""


@dataclass(frozen=True, slots=True)
class _Filler:
    """The sentences of a fill: the first `count` of the haystack, then the closers."""

    haystack: Haystack
    count: int
    closers: tuple[int, ...]

    @property
    def num_sentences(self) -> int:
        return self.count + len(self.closers)

    def sentence(self, index: int) -> Piece:
        return sentence(self.haystack, index if index < self.count else self.closers[index - self.count])

    def gaps(self) -> NDArray[np.int64]:
        """Token offsets of the gaps between sentences, where needles may stand."""
        starts = self.haystack.starts
        lengths = [int(starts[index + 1] - starts[index]) for index in self.closers]
        ends = int(starts[self.count]) + np.cumsum([0, *lengths], dtype=np.int64)
        return np.concatenate([starts[: self.count], ends])

    def between(self, first: int, last: int) -> list[tuple[TokenIds, Bytes]]:
        """Tokens and text of the sentences from `first` up to `last`."""
        haystack, stop = self.haystack, min(last, self.count)
        found: list[tuple[TokenIds, Bytes]] = []
        if first < stop:
            tokens = haystack.token_ids[haystack.starts[first] : haystack.starts[stop]]
            found.append((tokens, text_between(haystack, first, stop)))
        for index in range(max(first, self.count), last):
            piece = self.sentence(index)
            found.append((piece.token_ids, piece.text.encode()))
        return found


def _build(frame: Frame, trial: Trial, cell: Cell, item: Item, fill: Fill, room: int) -> Sample:
    """The sample with these filler sentences and `room` tokens for the completion."""
    filler = _Filler(trial.haystack, fill.count, fill.closers)
    for index in range(max(1, filler.count), filler.num_sentences):
        check_join(filler.sentence(index - 1), filler.sentence(index), frame.tokenizer)
    gaps = filler.gaps()
    tokens: list[TokenIds] = []
    parts: list[Bytes] = []
    places: dict[int, slice] = {}
    done, num_tokens = 0, 0
    left: Piece | None = None
    for gap, number, needle in _in_order(item.needles, gaps):
        for piece_ids, text in filler.between(done, gap):
            tokens.append(piece_ids)
            parts.append(text)
        if gap > done:
            num_tokens, left = num_tokens + int(gaps[gap] - gaps[done]), filler.sentence(gap - 1)
        piece = _encode_needle(frame, left, needle)
        left, done = piece, gap
        tokens.append(piece.token_ids)
        parts.append(piece.text.encode())
        places[number] = slice(num_tokens, num_tokens + len(piece.token_ids))
        num_tokens += len(piece.token_ids)
        if gap < filler.num_sentences:
            check_join(piece, filler.sentence(gap), frame.tokenizer)
    for piece_ids, text in filler.between(done, filler.num_sentences):
        tokens.append(piece_ids)
        parts.append(text)
    document = make_document(tokens, parts, repeated_share(trial.haystack, filler.count))
    last = filler.sentence(filler.num_sentences - 1) if left is None or done < filler.num_sentences else left
    first = Piece(bytes(parts[0]).decode(), tokens[0]) if _starts_with_needle(places) else filler.sentence(0)
    reach = Reach(
        num_tokens=len(document.token_ids),
        num_text_bytes=sum(map(len, parts)),
        last=last,
        support=tuple(places[number] for number in item.support),
    )
    return frame.sample(cell, item, frame.head(first), document, reach, max_new_tokens=room)


def _starts_with_needle(places: dict[int, slice]) -> bool:
    return any(place.start == 0 for place in places.values())


def _encode_needle(frame: Frame, left: Piece | None, needle: Needle) -> Piece:
    text = f" {needle.text}"
    return encode_after(left, text, frame.tokenizer) if left else encode_alone(text, frame.tokenizer)


def _in_order(needles: Sequence[Needle], gaps: NDArray[np.int64]) -> list[tuple[int, int, Needle]]:
    """(gap, number, needle) by place: each at the gap that is nearest to its depth."""
    placed = [
        (int(np.argmin(np.abs(gaps - needle.depth * int(gaps[-1])))), number, needle)
        for number, needle in enumerate(needles)
    ]
    return sorted(placed, key=lambda entry: (entry[0], entry[2].depth, entry[1]))


def exact_fill(haystack: Haystack, num_tokens: int, min_count: int = 0, max_count: int | None = None) -> Fill:
    """Whole sentences of `num_tokens` tokens together: the first ones in order, within the counts, then closers.

    Closers are later sentences that may stand anywhere: up to two, and before them as many in order as are needed if
    `max_count` stops early. Where no two make that number, what is left is for the completion. Raises BudgetError if
    not one sentence fits.
    """
    starts = haystack.starts
    whole = int(np.searchsorted(starts, num_tokens, side="right")) - 1
    most = whole if max_count is None else min(whole, max_count)
    nearest = Fill(most, num_left=num_tokens - int(starts[most]))
    for count in range(most, max(min_count - 1, most - _MAX_STEPS_BACK), -1):
        fill = _close(haystack, count, num_tokens - int(starts[count]))
        if fill.num_left == 0:
            return fill
        if count == most:
            nearest = fill
    if most < 1:
        raise BudgetError(f"No whole sentence of {haystack.name!r} fits {num_tokens} tokens.")
    return nearest


def _close(haystack: Haystack, count: int, rest: int) -> Fill:
    """The first `count` sentences, then closers of `rest` tokens; without the last two where no two fit."""
    starts = haystack.starts
    movable = itertools.islice(_movable_from(haystack, count), _CLOSER_WINDOW)
    lengths = {index: int(starts[index + 1] - starts[index]) for index in movable}
    # Two closers make nearly any number of tokens around twice the usual length; what is beyond is filled in order.
    left_to_two = 2 * int(np.median(list(lengths.values()))) if lengths else rest
    taken: list[int] = []
    for index, length in lengths.items():
        if rest - length < left_to_two:
            break
        taken.append(index)
        rest -= length
    if rest == 0:
        return Fill(count, tuple(taken))
    later: dict[int, list[int]] = {}
    for index, length in itertools.islice(lengths.items(), len(taken), None):
        later.setdefault(length, []).append(index)
    if rest in later:
        return Fill(count, (*taken, later[rest][0]))
    for length, indices in later.items():
        others = [index for index in later.get(rest - length, []) if index != indices[0]]
        if others:
            return Fill(count, (*taken, indices[0], others[0]))
    return Fill(count, tuple(taken), rest)


def _movable_from(haystack: Haystack, index: int) -> list[int]:
    """The next sentences from `index` on that may stand anywhere."""
    stop = min(haystack.num_sentences, index + 16 * _CLOSER_WINDOW)
    return [index + int(i) for i in np.flatnonzero(haystack.movable[index:stop])]
