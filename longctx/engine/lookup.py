"""A guess at how an answer goes on: as the prompt did, the last time that it said the same.

Prompt lookup decoding (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding). The wrong answers of
recall tests are mostly other passages of the prompt, and checking a few guessed tokens costs one pass
over the KV cache, as decoding a single one does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from longctx.records import TokenIds

_MATCHES = (4, 3, 2)
"""How many last tokens must be the same, tried in this order."""


def look_up(prompt_ids: TokenIds, tokens: Sequence[int], max_tokens: int) -> list[int]:
    """At most `max_tokens` tokens that may follow the prompt and the answer's first `tokens`; may be none."""
    ids = np.concatenate([prompt_ids, np.array(tokens, dtype=np.int32)])
    # Where the last token was said before; longer matches are looked for among these alone.
    ends = np.flatnonzero(ids[:-1] == ids[-1:])
    for size in (size for size in _MATCHES if size < len(ids)):
        found = ends[ends >= size - 1]
        for back in range(1, size):
            found = found[ids[found - back] == ids[-1 - back]]
        if len(found):
            after = int(found[-1]) + 1
            return [int(token) for token in ids[after : after + max_tokens]]
    return []
