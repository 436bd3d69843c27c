"""Codes of tokens: 64 signs each, of which the first eleven are compared and all are said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from longctx.errors import ConfigError
from longctx.phantom.layout import CODE_BITS, MATCH_BITS

_SEED = 0


def make_codes(num_tokens: int, distinct: Sequence[int], alike: Mapping[int, int]) -> NDArray[np.float64]:
    """+1 and -1, of shape (num_tokens, CODE_BITS).

    The compared bits write a number in binary. The tokens of `distinct`, or all where there are no more than numbers,
    have each its own; others may share one, which matters only if all of NUM_BACK tokens do. A token of `alike` is
    compared as the one that it is mapped to. Raises ConfigError for more distinct tokens than numbers.
    """
    rng = np.random.default_rng(_SEED)
    count = 2**MATCH_BITS
    own = np.arange(num_tokens) if num_tokens <= count else np.unique(np.asarray(distinct, dtype=np.int64))
    if len(own) > count:
        raise ConfigError(f"{len(own)} tokens have to be told apart; a phantom's codes tell {count}.")
    numbers = rng.integers(count, size=num_tokens)
    numbers[own] = rng.permutation(count)[: len(own)]
    for token, other in alike.items():
        numbers[token] = numbers[other]
    signs = rng.integers(2, size=(num_tokens, CODE_BITS))
    signs[:, :MATCH_BITS] = numbers[:, None] >> np.arange(MATCH_BITS) & 1
    return np.where(signs == 1, 1.0, -1.0)
