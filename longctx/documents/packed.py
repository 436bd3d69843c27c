"""The packed design: one document of the longest length holds a needle for every cell of its trial.

At each length the model is asked about that length's needles, and then reads on. Every prompt is a
prefix of the document that ends with a sentence, at most 64 tokens below its length and never above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longctx.documents.frame import Frame, Reach, Trial, make_document, repeated_share, text_between
from longctx.documents.splice import Piece, check_join, encode_after, encode_alone, sentence
from longctx.errors import BudgetError
from longctx.lengths import format_length
from longctx.records import Bytes, Cell, Item, Sample, TokenIds

MAX_SLACK_TOKENS = 64
# Kept free for what a merge at the cut may add to the tail.
_MERGE_TOKENS = 2


Owner = tuple[int, float, int]
"""Whose needle it is: length, depth, and number within the item."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """A needle that waits for its place."""

    position: float
    """Document tokens that should stand before it."""
    owner: Owner
    text: str
    num_tokens: int

    @property
    def length(self) -> int:
        return self.owner[0]


@dataclass(slots=True)
class _Growing:
    """The document while it is written. Sentences that were neighbours in the haystack join as they did there."""

    frame: Frame
    trial: Trial
    tokens: list[TokenIds]
    parts: list[Bytes]
    first: Piece | None = None
    last: Piece | None = None
    num_tokens: int = 0
    num_text_bytes: int = 0
    num_sentences: int = 0
    after_needle: bool = False

    def following(self) -> Piece:
        """The next sentence of the haystack."""
        return sentence(self.trial.haystack, self.num_sentences)

    def add_sentence(self) -> None:
        piece = self.following()
        if self.after_needle and self.last is not None:
            check_join(self.last, piece, self.frame.tokenizer)
        self.num_sentences += 1
        self._append(piece, text_between(self.trial.haystack, self.num_sentences - 1, self.num_sentences))
        self.after_needle = False

    def add_needle(self, text: str) -> slice:
        tokenizer = self.frame.tokenizer
        piece = encode_after(self.last, text, tokenizer) if self.last else encode_alone(text, tokenizer)
        start = self.num_tokens
        self._append(piece, text.encode())
        self.after_needle = True
        return slice(start, self.num_tokens)

    def _append(self, piece: Piece, text: Bytes) -> None:
        self.first, self.last = self.first or piece, piece
        self.tokens.append(piece.token_ids)
        self.parts.append(text)
        self.num_tokens += len(piece.token_ids)
        self.num_text_bytes += len(text)


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
    growing = _Growing(frame, trial, [], [])
    places, cuts = _write(growing, _plan(frame, limits, items), limits)
    document = make_document(growing.tokens, growing.parts, repeated_share(trial.haystack, growing.num_sentences))
    head = frame.head(growing.first or first)
    samples = []
    for (length, depth), item in items.items():
        cut = cuts[length]
        reach = Reach(
            num_tokens=cut.num_tokens,
            num_text_bytes=cut.num_text_bytes,
            last=cut.last,
            support=tuple(places[length, depth, number] for number in item.support),
        )
        cell = Cell(frame.task, length, depth, trial.number)
        sample = frame.sample(cell, item, head, document, reach)
        slack = length - sample.prompt.num_tokens - frame.max_new_tokens
        if not 0 <= slack <= MAX_SLACK_TOKENS:
            raise BudgetError(f"The packed prompt of {cell} is {slack} tokens below its length; 0 to 64 are allowed.")
        samples.append(sample)
    return samples


def _plan(frame: Frame, limits: Mapping[int, int], items: Mapping[tuple[int, float], Item]) -> list[_Planned]:
    """The needles in the order of their places."""
    planned = []
    for (length, depth), item in items.items():
        for number, needle in enumerate(item.needles):
            text = f" {needle.text}"
            num_tokens = len(encode_alone(text, frame.tokenizer).token_ids)
            position = needle.depth * (limits[length] - num_tokens)
            planned.append(_Planned(position, (length, depth, number), text, num_tokens))
    return sorted(planned, key=lambda needle: (needle.position, needle.owner))


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where the prompts of one length leave the document."""

    num_tokens: int
    num_text_bytes: int
    last: Piece


def _write(
    growing: _Growing, planned: Sequence[_Planned], limits: Mapping[int, int]
) -> tuple[dict[Owner, slice], dict[int, _Cut]]:
    """Write the document; returns the needles' places in it and the cut of every length."""
    waiting = list(planned)
    places: dict[Owner, slice] = {}
    cuts: dict[int, _Cut] = {}

    def place(needle: _Planned) -> None:
        places[needle.owner] = growing.add_needle(needle.text)
        waiting.remove(needle)

    for length in sorted(limits):
        while True:
            mine = [needle for needle in waiting if needle.length == length]
            reserved = sum(needle.num_tokens for needle in mine)
            following = growing.following()
            due = waiting[0] if waiting and _is_due(waiting[0], growing.num_tokens, following) else None
            step = len(following.token_ids) if due is None else due.num_tokens
            if due is not None and due.length == length:
                reserved -= due.num_tokens
            if growing.num_tokens + step + reserved > limits[length]:
                break
            if due is not None:
                place(due)
            else:
                growing.add_sentence()
        for needle in mine:
            place(needle)
        if growing.num_sentences == 0 or growing.last is None or growing.num_tokens > limits[length]:
            raise BudgetError(
                f"A context of {format_length(length)} tokens is too short to pack its needles: "
                f"they and the filler before them take {growing.num_tokens} of {limits[length]} document tokens."
            )
        cuts[length] = _Cut(growing.num_tokens, growing.num_text_bytes, growing.last)
    return places, cuts


def _is_due(needle: _Planned, num_tokens: int, following: Piece) -> bool:
    """Whether the gap here is nearer to the needle's place than the gap after the following sentence."""
    return needle.position <= num_tokens + len(following.token_ids) / 2
