"""The filler of a trial: a source's sentences for one seed, tokenised, from the cache."""

from __future__ import annotations

import hashlib
from random import Random

from longctx.documents.tokenised import read_tokens, write_tokens
from longctx.documents.tokenizer import Tokenizer
from longctx.errors import StoreError
from longctx.files import cache_folder
from longctx.haystack import Source
from longctx.records import Haystack

# Part of the cache key: raise it when the files of a folder change.
_LAYOUT = 1
_LEAST_TOKENS = 65_536


def load_filler(source: Source, seed: int, tokenizer: Tokenizer, num_tokens: int) -> Haystack:
    """At least `num_tokens` tokens of what `source` says for `seed`.

    The sentences do not depend on `num_tokens`: more of them only goes on. Raises BudgetError if the source has too
    few, StoreError where the cache folder cannot be written.
    """
    stored = _stored_tokens(num_tokens)
    key = hashlib.sha256(repr((_LAYOUT, source.digest, seed, tokenizer.fingerprint, stored)).encode()).hexdigest()
    folder = cache_folder() / "haystacks" / f"{source.name.replace('/', '-')[:40]}-{key[:16]}"
    if not folder.exists():
        try:
            write_tokens(folder, source.name, source.sentences(seed), tokenizer, stored)
        except OSError as error:
            raise StoreError(f"Cannot keep the tokenised haystack in {folder.parent}: {error}") from error
    return read_tokens(folder, source.name)


def trial_seed(seed: int, number: int) -> int:
    """The seed of a trial's filler. It does not depend on the task: tasks are compared on the same text."""
    return Random(f"{seed}/{number}").getrandbits(64)


def _stored_tokens(num_tokens: int) -> int:
    """Rounded up by a sixteenth at most, so that close lengths share what is stored."""
    step = max(_LEAST_TOKENS, 1 << max(0, num_tokens.bit_length() - 5))
    return -(-num_tokens // step) * step
