"""The isolated design: a document of its own for every cell, full to the last token.

All documents of a trial start from the same filler, and a needle's wording depends on the trial
and the depth alone. So lengths are compared on the same facts, and prompts share the filler before
their needles.
"""

from __future__ import annotations

import numpy as np

from longctx.documents.frame import Frame, Trial, make_document
from longctx.documents.splice import Piece, Tail, check_join, encode_after, encode_alone, sentence
from longctx.errors import BudgetError
from longctx.lengths import format_length
from longctx.records import Cell, Haystack, Item, Sample, TokenIds

# Fewest filler tokens of a document; with less there is no depth to speak of.
_MIN_FILLER_TOKENS = 64
_CLOSER_WINDOW = 128
_MAX_STEPS_BACK = 16
_MAX_CORRECTIONS = 4


def build_isolated(frame: Frame, trial: Trial, length: int, depth: float, item: Item) -> Sample:
    """The sample of one cell: prompt tokens + room for the completion == `length`.

    Raises BudgetError if the length is too short for the question, or no sentences fit exactly.
    """
    cell = Cell(frame.task, length, depth, trial.number)
    first = sentence(trial.haystack, 0)
    needle = encode_alone(f" {item.needle}", frame.tokenizer)
    overhead = len(frame.head(first)) + frame.tail(first, item).num_added + frame.max_new_tokens + len(needle.token_ids)
    if length < overhead + _MIN_FILLER_TOKENS:
        raise BudgetError(
            f"A context of {format_length(length)} tokens is too short for {frame.task}: template, needle, "
            f"question and room for the answer take {overhead}; the shortest is {overhead + _MIN_FILLER_TOKENS}."
        )
    num_filler = length - overhead
    for _ in range(_MAX_CORRECTIONS):
        sample = _build(frame, trial, cell, item, num_filler)
        difference = length - sample.prompt.num_tokens - frame.max_new_tokens
        if difference == 0:
            return sample
        num_filler += difference  # the head or the tail is another number of tokens beside these sentences
    raise BudgetError(f"No document of exactly {length} tokens was found for {cell}.")


def _build(frame: Frame, trial: Trial, cell: Cell, item: Item, num_filler: int) -> Sample:
    """The sample with exactly `num_filler` filler tokens."""
    haystack = trial.haystack
    count, closers = exact_fill(haystack, num_filler)
    pieces = [sentence(haystack, index) for index in closers]
    # Token offsets of the gaps between sentences, where a needle may stand.
    gaps = np.concatenate([haystack.starts[: count + 1], haystack.starts[count] + _running_lengths(pieces)])
    gap = int(np.argmin(np.abs(gaps - cell.depth * num_filler)))
    filler = np.concatenate([haystack.token_ids[: haystack.starts[count]], *(piece.token_ids for piece in pieces)])

    def piece_at(index: int) -> Piece:
        return sentence(haystack, index) if index < count else pieces[index - count]

    num_pieces = count + len(pieces)
    text = f" {item.needle}"
    needle = encode_after(piece_at(gap - 1), text, frame.tokenizer) if gap else encode_alone(text, frame.tokenizer)
    if gap < num_pieces:
        check_join(needle, piece_at(gap), frame.tokenizer)
    for index in range(max(1, count), num_pieces):
        check_join(piece_at(index - 1), piece_at(index), frame.tokenizer)
    document = make_document([filler[: gaps[gap]], needle.token_ids, filler[gaps[gap] :]])
    head: TokenIds = frame.head(piece_at(0) if gap else needle)
    tail: Tail = frame.tail(piece_at(num_pieces - 1) if gap < num_pieces else needle, item)
    start = int(gaps[gap])
    place = slice(start, start + len(needle.token_ids))
    return frame.sample(cell, item, head, document, len(document.token_ids), tail, place)


def _running_lengths(pieces: list[Piece]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.cumsum([len(piece.token_ids) for piece in pieces], dtype=np.int64)


def exact_fill(haystack: Haystack, num_tokens: int) -> tuple[int, tuple[int, ...]]:
    """A way to take whole sentences of exactly `num_tokens` tokens together.

    Returns (count, closers): the first `count` sentences in order, then up to two later ones.
    Raises BudgetError if there is none.
    """
    starts = haystack.starts
    whole = int(np.searchsorted(starts, num_tokens, side="right")) - 1
    for count in range(whole, max(-1, whole - _MAX_STEPS_BACK), -1):
        rest = num_tokens - int(starts[count])
        if rest == 0:
            return count, ()
        later = range(count, min(haystack.num_sentences, count + _CLOSER_WINDOW))
        by_length = {int(starts[index + 1] - starts[index]): index for index in reversed(later)}
        if rest in by_length:
            return count, (by_length[rest],)
        for length, index in by_length.items():
            if by_length.get(rest - length, index) != index:
                return count, (index, by_length[rest - length])
    raise BudgetError(f"No whole sentences of {haystack.name!r} make exactly {num_tokens} tokens.")
