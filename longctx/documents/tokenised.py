"""A source's sentences as tokens on disk: written once for each tokenizer, memory-mapped afterwards.

Blocks of sentences are tokenised together, on all cores, each block beside the sentence before it, whose
tokens must come out the same both times. A sentence ends where a token ends; two between which a token
spans the border become one.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longctx.documents.splice import Piece, check_join, merges
from longctx.documents.tokenizer import Encoding, Tokenizer
from longctx.errors import BudgetError, SpliceError
from longctx.records import Haystack, TokenIds

_BLOCK_SENTENCES = 64
_BATCH_BLOCKS = 64
_NGRAM = 8

_ARRAYS: dict[str, type] = {
    "token_ids": np.int32,
    "starts": np.int64,
    "text": np.uint8,
    "text_starts": np.int64,
    "num_passages": np.int64,
    "repeated": np.int64,
    "movable": np.bool_,
    "event_sentences": np.int64,
    "said_before": np.int32,
}
"""What a folder holds: `num_passages[i]` are the sentences as the source gave them up to the end of sentence i;
`event_sentences[i]`, for stories, is the sentence that states event i; `said_before[i]`, for a text of which all is
stored, is what said_before() says of it."""
_ALWAYS = ("token_ids", "starts", "text", "text_starts", "repeated", "movable")


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Sentences with their tokens; offsets count from the start of the block."""

    token_ids: TokenIds
    token_ends: NDArray[np.int64]
    texts: list[str]
    num_passages: NDArray[np.int64]
    """Passages in each of `texts`: more than one where a token spans a border."""

    def last(self) -> Piece:
        first = self.token_ends[-2] if len(self.texts) > 1 else 0
        return Piece(self.texts[-1], self.token_ids[first:])


def _cut(passages: list[str], encoding: Encoding, start: int) -> _Block | None:
    """The block of `passages`, which begin at character `start` of the text; None where a token spans an end."""
    positions = start + np.cumsum([0, *map(len, passages)], dtype=np.int64)
    counts, clean = encoding.boundaries(positions)
    if not clean[0] or not clean[-1]:
        return None
    kept = np.flatnonzero(clean)
    texts = passages
    if len(kept) < len(positions):
        texts = ["".join(passages[a:b]) for a, b in itertools.pairwise(kept.tolist())]
    return _Block(
        token_ids=encoding.token_ids[counts[0] : counts[-1]],
        token_ends=counts[kept[1:]] - counts[0],
        texts=texts,
        num_passages=np.diff(kept),
    )


def _blocks(sentences: Iterator[str], tokenizer: Tokenizer) -> Iterator[_Block]:
    """All sentences in blocks; raises SpliceError where the tokenizer merges across two blocks."""
    passages = (" " + text for text in sentences)
    before: Piece | None = None
    while True:
        groups = []
        for _ in range(_BATCH_BLOCKS):
            group = list(itertools.islice(passages, _BLOCK_SENTENCES))
            if group:
                groups.append(group)
        if not groups:
            return
        contexts = [before.text if before else "", *(group[-1] for group in groups[:-1])]
        texts = ["." + left + "".join(group) for left, group in zip(contexts, groups, strict=True)]
        encodings = tokenizer.encode_batch(texts)
        for context, group, encoding in zip(contexts, groups, encodings, strict=True):
            block = _cut(group, encoding, 1 + len(context))
            if before is not None and context != before.text and block is not None:
                # The block before ended with several sentences in one.
                check_join(before, Piece(block.texts[0], block.token_ids[: block.token_ends[0]]), tokenizer)
            elif before is not None and not _repeats(encoding, before, len(context)):
                block = None
            if block is None:
                raise merges(context or ".", group[0])
            yield block
            before = block.last()


def _repeats(encoding: Encoding, before: Piece, length: int) -> bool:
    """Whether the context of a block came out as the tokens that the block before ended with."""
    counts, clean = encoding.boundaries(np.array([1, 1 + length]))
    return bool(clean.all()) and np.array_equal(encoding.token_ids[counts[0] : counts[1]], before.token_ids)


def write_tokens(
    folder: Path,
    name: str,
    sentences: Iterator[str],
    tokenizer: Tokenizer,
    num_tokens: int | None,
    finish: Callable[[Path], None] = lambda unfinished: None,
) -> None:
    """Write the first sentences that hold at least `num_tokens` tokens, or all, into a new folder, whole or not at all.

    `finish` may add to the folder before it gets its name. Another process may write the same at the same time:
    the first one's stays. Raises BudgetError if the source runs dry before: a haystack does not repeat itself.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".writing-"))
    try:
        total = _write_blocks(unfinished, sentences, tokenizer, num_tokens)
        if num_tokens is not None and total < num_tokens:
            raise BudgetError(f"The haystack {name!r} has {total:,} unique tokens; {num_tokens:,} are needed.")
        starts = load_array(unfinished, "starts")
        before = said_before(load_array(unfinished, "token_ids"))
        save_array(unfinished, "repeated", count_repeated(before, starts))
        if num_tokens is None:
            save_array(unfinished, "said_before", before)
        save_array(unfinished, "movable", np.ones(len(starts) - 1, dtype=np.bool_))
        finish(unfinished)
        if not folder.exists():
            os.replace(unfinished, folder)
    except OSError:
        if not folder.exists():  # another process may have finished first
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_blocks(folder: Path, sentences: Iterator[str], tokenizer: Tokenizer, num_tokens: int | None) -> int:
    total = 0
    text_total = 0
    passages = 0
    starts: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
    text_starts: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
    num_passages: list[NDArray[np.int64]] = []
    with open(folder / "token_ids", "wb") as token_file, open(folder / "text", "wb") as text_file:
        for block in _blocks(sentences, tokenizer):
            _refuse_special(block.texts, tokenizer)
            block.token_ids.tofile(token_file)
            data = "".join(block.texts).encode()
            text_file.write(data)
            starts.append(total + block.token_ends)
            text_starts.append(text_total + np.cumsum([len(text.encode()) for text in block.texts], dtype=np.int64))
            num_passages.append(passages + np.cumsum(block.num_passages))
            total += len(block.token_ids)
            text_total += len(data)
            passages += int(block.num_passages.sum())
            if num_tokens is not None and total >= num_tokens:
                break
    save_array(folder, "starts", np.concatenate(starts))
    save_array(folder, "text_starts", np.concatenate(text_starts))
    save_array(folder, "num_passages", np.concatenate([np.zeros(0, dtype=np.int64), *num_passages]))
    return total


def _refuse_special(texts: list[str], tokenizer: Tokenizer) -> None:
    """Text such as <|im_end|> would end the user's turn in the middle of the haystack."""
    whole = "".join(texts)
    for special in tokenizer.special_texts:
        if special in whole:
            found = next((text for text in texts if special in text), whole)
            raise SpliceError(
                f"The haystack holds {special!r}, which the tokenizer takes for a special token: "
                f"{found.strip()[:80]!r}. Take it out of the text."
            )


def save_array(folder: Path, name: str, values: NDArray[Any]) -> None:
    """Write one of the arrays that a folder holds."""
    values.astype(_ARRAYS[name]).tofile(folder / name)


def load_array(folder: Path, name: str) -> Any:
    """One of the arrays that a folder holds, memory-mapped."""
    kind = _ARRAYS[name]
    if (folder / name).stat().st_size == 0:
        return np.zeros(0, dtype=kind)
    return np.memmap(folder / name, dtype=kind, mode="r")


def read_tokens(folder: Path, name: str) -> Haystack:
    """The haystack in a folder that write_tokens has written."""
    return Haystack(name, **{field: load_array(folder, field) for field in _ALWAYS})


def said_before(token_ids: TokenIds) -> NDArray[np.int32]:
    """How many tokens back each 8-gram of tokens was said last, in a text whose start comes again after its end.

    The whole text back for those that are said once; shape (num_tokens,). 8-grams are compared by a 64-bit hash;
    two of 10M fall together with a probability of about 3 in a million.
    """
    total = len(token_ids)
    if total == 0:
        return np.zeros(0, dtype=np.int32)
    hashes = _ngram_hashes(token_ids)
    order = np.argsort(hashes, kind="stable").astype(np.int32)
    hashes = hashes[order]
    new = np.ones(total, dtype=np.bool_)
    np.not_equal(hashes[1:], hashes[:-1], out=new[1:])
    # Among equal ones, which stand in the order of the text, the one before the first is the last.
    firsts = np.flatnonzero(new)
    lasts = np.append(firsts[1:], total) - 1
    found = np.empty(total, dtype=np.int32)
    found[order[1:]] = order[1:] - order[:-1]
    found[order[firsts]] = order[firsts] - order[lasts] + total
    return found


def _ngram_hashes(token_ids: TokenIds) -> NDArray[np.uint64]:
    """Of the 8-gram that begins at each token; those at the end go on at the start."""
    around = np.resize(token_ids, len(token_ids) + _NGRAM - 1)
    hashes = np.zeros(len(token_ids), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for place in range(_NGRAM):
            hashes *= np.uint64(0x9E3779B97F4A7C15)
            hashes += around[place : place + len(token_ids)].astype(np.uint64) + np.uint64(1)
            hashes ^= hashes >> np.uint64(29)
    return hashes


def count_repeated(before: NDArray[np.int32], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each number of whole sentences, how many of their 8-grams of tokens had come before in the same text.

    `before` says of each token of the text how far back its 8-gram was said last (see said_before). A text that
    goes on from its start after its end is counted as well as one that does not.
    """
    counts = np.zeros(len(before) + 1, dtype=np.int64)
    np.cumsum(before <= np.arange(len(before)), out=counts[1:])
    return counts[np.clip(starts - _NGRAM + 1, 0, None)]
