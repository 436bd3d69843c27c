"""Joining text without changing tokens.

A tokenizer may merge across the place where two texts meet, and then the prompt that was built is
not the prompt that its text encodes to. So every text is tokenised beside its neighbour and cut
where a token ends, and every join of ids is compared with the tokens of the joined text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from longctx.documents.tokenizer import Encoding, Tokenizer
from longctx.errors import BudgetError, SpliceError
from longctx.records import Haystack, TokenIds

_BLOCK_SENTENCES = 128


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A sentence with its tokens; its text starts with a space."""

    text: str
    token_ids: TokenIds


def sentence(haystack: Haystack, index: int) -> Piece:
    first, last = haystack.starts[index], haystack.starts[index + 1]
    return Piece(haystack.texts[index], haystack.token_ids[first:last])


def _merges(left: str, right: str) -> SpliceError:
    return SpliceError(f"The tokenizer merges across {left[-12:]!r} and {right[:12]!r}.")


def _encode_inside(text: str, tokenizer: Tokenizer) -> Encoding:
    """`text`, which starts with a space, as it is tokenised inside running text.

    A full stop stands in for the sentence before: some tokenizers treat the first word of a text differently.
    """
    encoding = tokenizer.encode("." + text)
    cut = encoding.boundary(1)
    if cut is None:
        raise _merges(".", text)
    return Encoding(encoding.token_ids[cut:], encoding.starts[cut:] - 1, encoding.ends[cut:] - 1)


def tokenize_source(name: str, sentences: Iterator[str], tokenizer: Tokenizer, num_tokens: int) -> Haystack:
    """The first sentences of a source that hold at least `num_tokens` tokens.

    Two sentences between which a token spans the border become one unit. Raises BudgetError if the
    source runs dry: a haystack never repeats itself.
    """
    texts: list[str] = []
    ids: list[TokenIds] = []
    total = 0
    while total < num_tokens:
        block = [" " + text for text in itertools.islice(sentences, _BLOCK_SENTENCES)]
        if not block:
            raise BudgetError(f"The haystack {name!r} has {total:,} unique tokens; {num_tokens:,} are needed.")
        encoding = _encode_inside("".join(block), tokenizer)
        unit, start, position = "", 0, 0
        for text in block:
            unit += text
            position += len(text)
            end = encoding.boundary(position)
            if end is None:
                continue
            texts.append(unit)
            ids.append(encoding.token_ids[start:end])
            if start == 0 and len(ids) > 1:  # the first of a block was not tokenised beside its neighbour
                check_join(Piece(texts[-2], ids[-2]), Piece(unit, ids[-1]), tokenizer)
            total += end - start
            unit, start = "", end
    starts = np.cumsum([0, *map(len, ids)], dtype=np.int64)
    return Haystack(name, np.concatenate(ids), starts, tuple(texts))


def encode_after(left: Piece, text: str, tokenizer: Tokenizer) -> Piece:
    """`text`, which starts with a space, as it is tokenised after `left`; raises SpliceError."""
    encoding = _encode_inside(left.text + text, tokenizer)
    cut = encoding.boundary(len(left.text))
    if cut is None or not np.array_equal(encoding.token_ids[:cut], left.token_ids):
        raise _merges(left.text, text)
    return Piece(text, encoding.token_ids[cut:])


def encode_alone(text: str, tokenizer: Tokenizer) -> Piece:
    """`text`, which starts with a space, as it is tokenised inside running text; raises SpliceError."""
    return Piece(text, _encode_inside(text, tokenizer).token_ids)


def check_join(left: Piece, right: Piece, tokenizer: Tokenizer) -> None:
    """Raise SpliceError unless the tokens of the joined text are the pieces' tokens in a row."""
    found = _encode_inside(left.text + right.text, tokenizer).token_ids
    if not np.array_equal(found, np.concatenate([left.token_ids, right.token_ids])):
        raise _merges(left.text, right.text)


def encode_head(text: str, first: Piece, prefix_ids: list[int], tokenizer: Tokenizer) -> TokenIds:
    """Tokens of everything before the document; raises SpliceError."""
    encoding = tokenizer.encode(text + first.text)
    cut = encoding.boundary(len(text))
    if cut is None or not np.array_equal(encoding.token_ids[cut:], first.token_ids):
        raise _merges(text, first.text)
    return np.concatenate([np.asarray(prefix_ids, dtype=np.int32), encoding.token_ids[:cut]])


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """What follows the document. A full stop may merge with a line break, so the tail may take back its last tokens."""

    token_ids: TokenIds
    num_taken_back: int
    draft_ids: TokenIds

    @property
    def num_added(self) -> int:
        """Tokens by which the tail makes document + tail longer than the document."""
        return len(self.token_ids) - self.num_taken_back


def encode_tail(last: Piece, text: str, completion: str, tokenizer: Tokenizer) -> Tail:
    """Tokens of `text` after the piece `last`, and of the `completion` that should follow it.

    The draft is empty where the completion has no clean boundary. Raises SpliceError if the
    merge reaches beyond the piece.
    """
    joined = _encode_inside(last.text + text, tokenizer).token_ids
    same = 0
    for found, wanted in zip(joined, last.token_ids, strict=False):
        if found != wanted:
            break
        same += 1
    if same == 0:
        raise SpliceError(f"The tokenizer changes the whole of {last.text!r} before {text[:12]!r}.")
    full = _encode_inside(last.text + text + completion, tokenizer).token_ids
    clean = np.array_equal(full[: len(joined)], joined)
    draft = full[len(joined) :] if clean else np.empty(0, dtype=np.int32)
    return Tail(joined[same:], len(last.token_ids) - same, draft)
