"""The packed design: one document of the longest length holds a needle for every cell of its trial.

At each length the model is asked about that length's needles, and then reads on. Every prompt is a
prefix of the document that ends with a sentence, at most 64 tokens below its length and never above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longctx.documents.frame import Frame, Trial, make_document
from longctx.documents.splice import Piece, check_join, encode_after, encode_alone, sentence
from longctx.errors import BudgetError
from longctx.lengths import format_length
from longctx.records import Cell, Item, Sample

MAX_SLACK_TOKENS = 64
# Kept free for what a merge at the cut may add to the tail.
_MERGE_TOKENS = 2


@dataclass(frozen=True, slots=True)
class _Planned:
    """A needle that waits for its place."""

    position: float
    """Document tokens that should stand before it."""
    length: int
    depth: float
    text: str
    num_tokens: int


@dataclass(slots=True)
class _Growing:
    """The document while it is written. Sentences that were neighbours in the haystack join as they did there."""

    frame: Frame
    pieces: list[Piece]
    num_tokens: int = 0
    after_needle: bool = False

    def add_sentence(self, piece: Piece) -> None:
        if self.after_needle:
            check_join(self.pieces[-1], piece, self.frame.tokenizer)
        self._append(piece, is_needle=False)

    def add_needle(self, text: str) -> slice:
        tokenizer = self.frame.tokenizer
        piece = encode_after(self.pieces[-1], text, tokenizer) if self.pieces else encode_alone(text, tokenizer)
        start = self.num_tokens
        self._append(piece, is_needle=True)
        return slice(start, self.num_tokens)

    def _append(self, piece: Piece, is_needle: bool) -> None:
        self.pieces.append(piece)
        self.num_tokens += len(piece.token_ids)
        self.after_needle = is_needle


def build_packed(frame: Frame, trial: Trial, items: Mapping[tuple[int, float], Item]) -> list[Sample]:
    """The samples of one trial; `items` gives the needle of each (length, depth).

    Raises BudgetError if a length is too short for its needles and questions.
    """
    lengths = sorted({length for length, _ in items})
    first = sentence(trial.haystack, 0)
    head_tokens = len(frame.head(first))
    limits: dict[int, int] = {}
    for length in lengths:
        tails = [frame.tail(first, item).num_added for (at, _), item in items.items() if at == length]
        limits[length] = length - frame.max_new_tokens - head_tokens - max(tails) - _MERGE_TOKENS
    growing = _Growing(frame, [])
    places, cuts = _write(growing, trial, _plan(frame, limits, items), limits)
    document = make_document([piece.token_ids for piece in growing.pieces])
    head = frame.head(growing.pieces[0])
    samples = []
    for (length, depth), item in items.items():
        cut = cuts[length]
        tail = frame.tail(cut.last, item)
        cell = Cell(frame.task, length, depth, trial.number)
        sample = frame.sample(cell, item, head, document, cut.num_tokens, tail, places[length, depth])
        slack = length - sample.prompt.num_tokens - frame.max_new_tokens
        if not 0 <= slack <= MAX_SLACK_TOKENS:
            raise BudgetError(f"The packed prompt of {cell} is {slack} tokens below its length; 0 to 64 are allowed.")
        samples.append(sample)
    return samples


def _plan(frame: Frame, limits: Mapping[int, int], items: Mapping[tuple[int, float], Item]) -> list[_Planned]:
    """The needles in the order of their places."""
    planned = []
    for (length, depth), item in items.items():
        text = f" {item.needle}"
        num_tokens = len(encode_alone(text, frame.tokenizer).token_ids)
        planned.append(_Planned(depth * (limits[length] - num_tokens), length, depth, text, num_tokens))
    return sorted(planned, key=lambda needle: (needle.position, needle.length))


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where the prompts of one length leave the document."""

    num_tokens: int
    last: Piece


def _write(
    growing: _Growing, trial: Trial, planned: Sequence[_Planned], limits: Mapping[int, int]
) -> tuple[dict[tuple[int, float], slice], dict[int, _Cut]]:
    """Write the document; returns the needles' places in it and the cut of every length."""
    haystack, waiting = trial.haystack, list(planned)
    places: dict[tuple[int, float], slice] = {}
    cuts: dict[int, _Cut] = {}
    index = 0

    def place(needle: _Planned) -> None:
        places[needle.length, needle.depth] = growing.add_needle(needle.text)
        waiting.remove(needle)

    for length in sorted(limits):
        while True:
            mine = [needle for needle in waiting if needle.length == length]
            reserved = sum(needle.num_tokens for needle in mine)
            following = sentence(haystack, index)
            due = waiting[0] if waiting and _is_due(waiting[0], growing.num_tokens, following) else None
            step = len(following.token_ids) if due is None else due.num_tokens
            if due is not None and due.length == length:
                reserved -= due.num_tokens
            if growing.num_tokens + step + reserved > limits[length]:
                break
            if due is not None:
                place(due)
            else:
                growing.add_sentence(following)
                index += 1
        for needle in mine:
            place(needle)
        if index == 0 or growing.num_tokens > limits[length]:
            raise BudgetError(
                f"A context of {format_length(length)} tokens is too short to pack its needles: "
                f"they and the filler before them take {growing.num_tokens} of {limits[length]} document tokens."
            )
        cuts[length] = _Cut(growing.num_tokens, growing.pieces[-1])
    return places, cuts


def _is_due(needle: _Planned, num_tokens: int, following: Piece) -> bool:
    """Whether the gap here is nearer to the needle's place than the gap after the following sentence."""
    return needle.position <= num_tokens + len(following.token_ids) / 2
