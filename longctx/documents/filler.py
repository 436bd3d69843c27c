"""The filler of a trial: a source's sentences for one seed, tokenised, from the cache."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longctx.documents.splice import check_join, sentence
from longctx.documents.tokenised import count_repeated, load_array, read_tokens, write_tokens
from longctx.documents.tokenizer import Tokenizer
from longctx.errors import BudgetError, StoreError
from longctx.files import cache_folder
from longctx.haystack import Source
from longctx.records import Haystack

# Part of the cache key: raise it when the files of a folder change.
_LAYOUT = 3
# Filler beyond the longest document, from which closing sentences are chosen.
SPARE_TOKENS = 4096
_LEAST_TOKENS = 65_536
_SILENT_TOKENS = 1 << 20


def load_filler(
    source: Source, seed: int, tokenizer: Tokenizer, num_tokens: int, allow_repeats: bool = False
) -> Haystack:
    """At least `num_tokens` tokens of what `source` says for `seed`.

    The sentences do not depend on `num_tokens`: more of them only goes on. A text that is the same for all seeds
    is tokenised once, and read from another place for every seed, on from its start after its end. Raises
    BudgetError if the source has too few tokens, StoreError where the cache folder cannot be written.
    """
    stored = stored_tokens(num_tokens) if source.seeded else None
    folder = filler_folder(source, seed if source.seeded else 0, tokenizer, stored)
    if not folder.exists():
        with writing(folder, source.name, stored):
            write_tokens(folder, source.name, source.sentences(seed), tokenizer, stored)
    haystack = read_tokens(folder, source.name)
    if source.seeded:
        return haystack
    spans = _turn(haystack, seed, tokenizer, num_tokens, allow_repeats)
    return _joined(haystack, spans, load_array(folder, "said_before"))


def _turn(
    haystack: Haystack, seed: int, tokenizer: Tokenizer, num_tokens: int, allow_repeats: bool
) -> list[tuple[int, int]]:
    """The sentences from a place that `seed` draws, the start after the end; again and again if repeats are allowed."""
    total = len(haystack.token_ids)
    if total < num_tokens and not (allow_repeats and total):
        raise BudgetError(
            f"The haystack {haystack.name!r} has {total:,} unique tokens; {num_tokens:,} are needed. "
            "Add --allow-repeats to say the same again; the report then prints how much."
        )
    first = Random(seed).randrange(haystack.num_sentences)
    spans = [(first, haystack.num_sentences)]
    length = total - int(haystack.starts[first])
    while length < num_tokens:
        check_join(sentence(haystack, haystack.num_sentences - 1), sentence(haystack, 0), tokenizer)
        stop = int(np.searchsorted(haystack.starts, min(total, num_tokens - length)))
        spans.append((0, stop))
        length += int(haystack.starts[stop])
    return spans


def _joined(haystack: Haystack, spans: list[tuple[int, int]], before: NDArray[np.int32]) -> Haystack:
    """The sentences of these spans of a text, the first of which goes to its end and the others begin at its start."""

    def parts(values: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[Any]:
        found = [values[offsets[a] : offsets[b]] for a, b in spans]
        return np.concatenate(found) if len(found) > 1 else found[0]

    def moved(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        lengths = np.concatenate([np.diff(offsets[a : b + 1]) for a, b in spans])
        return np.concatenate([[0], np.cumsum(lengths)])

    starts = moved(haystack.starts)
    return Haystack(
        name=haystack.name,
        token_ids=parts(haystack.token_ids, haystack.starts),
        starts=starts,
        text=parts(haystack.text, haystack.text_starts),
        text_starts=moved(haystack.text_starts),
        repeated=count_repeated(parts(before, haystack.starts), starts),
        movable=np.ones(len(starts) - 1, dtype=np.bool_),
    )


def filler_folder(
    source: Source, seed: int, tokenizer: Tokenizer, stored: int | None, *, with_events: bool = False
) -> Path:
    """Where the cache keeps, or will keep, `stored` tokens of a source; None is all of it."""
    identity = repr((_LAYOUT, source.digest, seed, tokenizer.fingerprint, stored, with_events))
    key = hashlib.sha256(identity.encode()).hexdigest()
    return cache_folder() / "haystacks" / f"{source.name.replace('/', '-')[:40]}-{key[:16]}"


@contextlib.contextmanager
def writing(folder: Path, name: str, stored: int | None) -> Iterator[None]:
    """Say so where writing takes long, and name the cache folder where it cannot be written: raises StoreError."""
    if stored is None or stored > _SILENT_TOKENS:
        amount = "all of" if stored is None else f"{stored:,} tokens of"
        print(f"Writing and tokenising {amount} {name}, once, into {folder}", file=sys.stderr)
    try:
        yield
    except OSError as error:
        raise StoreError(f"Cannot keep the tokenised haystack in {folder.parent}: {error}") from error


def trial_seed(seed: int, number: int) -> int:
    """The seed of a trial's filler. It does not depend on the task: tasks are compared on the same text."""
    return Random(f"{seed}/{number}").getrandbits(64)


def stored_tokens(num_tokens: int) -> int:
    """Rounded up by a sixteenth at most, so that close lengths share what is stored."""
    step = max(_LEAST_TOKENS, 1 << max(0, num_tokens.bit_length() - 5))
    return -(-num_tokens // step) * step
