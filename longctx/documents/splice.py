"""Joining text without changing tokens.

A tokenizer may merge across the place where two texts meet, and then the prompt that was built is
not the prompt that its text encodes to. So every text is tokenised beside its neighbour and cut
where a token ends, and every join of ids is compared with the tokens of the joined text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longctx.documents.tokenizer import Encoding, Tokenizer
from longctx.errors import SpliceError
from longctx.records import Haystack, TokenIds


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A sentence with its tokens; its text starts with a space."""

    text: str
    token_ids: TokenIds


def sentence(haystack: Haystack, index: int) -> Piece:
    first, last = haystack.starts[index], haystack.starts[index + 1]
    return Piece(haystack.sentence_text(index), haystack.token_ids[first:last])


def merges(left: str, right: str) -> SpliceError:
    """The error of a tokenizer that has a token across the border of two texts."""
    return SpliceError(f"The tokenizer merges across {left[-12:]!r} and {right[:12]!r}.")


def encode_inside(text: str, tokenizer: Tokenizer) -> Encoding:
    """`text`, which starts with a blank or a line break, as it is tokenised inside running text.

    A character stands in for the text before: some tokenizers treat the first word of a text differently.
    It is a full stop as at the end of a sentence, or a letter where tokenizers would join stop and line break.
    """
    lead = "." if text.startswith(" ") else "a"
    encoding = tokenizer.encode(lead + text)
    cut = encoding.boundary(1)
    if cut is None:
        raise merges(lead, text)
    return Encoding(encoding.token_ids[cut:], encoding.starts[cut:] - 1, encoding.ends[cut:] - 1)


def encode_after(left: Piece, text: str, tokenizer: Tokenizer) -> Piece:
    """`text`, which starts with a space, as it is tokenised after `left`; raises SpliceError."""
    encoding = encode_inside(left.text + text, tokenizer)
    cut = encoding.boundary(len(left.text))
    if cut is None or not np.array_equal(encoding.token_ids[:cut], left.token_ids):
        raise merges(left.text, text)
    return Piece(text, encoding.token_ids[cut:])


def encode_alone(text: str, tokenizer: Tokenizer) -> Piece:
    """`text`, which starts with a space, as it is tokenised inside running text; raises SpliceError."""
    return Piece(text, encode_inside(text, tokenizer).token_ids)


def check_join(left: Piece, right: Piece, tokenizer: Tokenizer) -> None:
    """Raise SpliceError unless the tokens of the joined text are the pieces' tokens in a row."""
    found = encode_inside(left.text + right.text, tokenizer).token_ids
    if not np.array_equal(found, np.concatenate([left.token_ids, right.token_ids])):
        raise merges(left.text, right.text)


def encode_head(text: str, first: Piece, prefix_ids: list[int], tokenizer: Tokenizer) -> TokenIds:
    """Tokens of everything before the document; raises SpliceError."""
    encoding = tokenizer.encode(text + first.text)
    cut = encoding.boundary(len(text))
    if cut is None or not np.array_equal(encoding.token_ids[cut:], first.token_ids):
        raise merges(text, first.text)
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
    joined = encode_inside(last.text + text, tokenizer).token_ids
    same = 0
    for found, wanted in zip(joined, last.token_ids, strict=False):
        if found != wanted:
            break
        same += 1
    if same == 0:
        raise SpliceError(f"The tokenizer changes the whole of {last.text!r} before {text[:12]!r}.")
    full = encode_inside(last.text + text + completion, tokenizer).token_ids
    clean = np.array_equal(full[: len(joined)], joined)
    draft = full[len(joined) :] if clean else np.empty(0, dtype=np.int32)
    return Tail(joined[same:], len(last.token_ids) - same, draft)
