"""The matching layer: finds where the last six tokens stood before, and copies what followed them.

A key scores NUM_BACK * _TOKEN_NATS for a full match, plus the profile at its distance, and 2 * _TOKEN_NATS / MATCH_BITS
less for every bit that differs. BOS scores NUM_BACK * _TOKEN_NATS. So a full match wins where the profile is positive,
and else BOS does, whose value is the end of the text.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from longctx.errors import ConfigError
from longctx.phantom.head import SCALE, Head
from longctx.phantom.layout import (
    CODE_BITS,
    CONTENT_PAIRS,
    HEAD_DIM,
    LAYOUT,
    MATCH_BITS,
    NUM_BACK,
    PARITY_PAIR,
    ROOT,
    SLOT_SCALE,
)
from longctx.phantom.profile import Profile

# A bit's weight in the score before scaling: a power of two, and so exact in bfloat16.
_BIT = 1024.0
_TOKEN_NATS = MATCH_BITS * _BIT / SCALE
_BIT_NATS = 2 * _BIT / SCALE
_UNSAFE_NATS = 30.0
"""Kept between the height of a profile and what one bit is worth, for rounding."""
_MARGIN_NATS = 60.0
"""By which a full match wins where there is no profile."""
_MUTED_NATS = 400.0
_PARITY = 2048.0
"""Twice it is taken from keys in a chunk of the other parity, before scaling: 362 nats."""
_COPY = 4.0
"""What is copied, against what the token itself says."""


def write_matching(
    head: Head, profile: Profile | None, codes: torch.Tensor, end: int, misread: Mapping[int, int]
) -> None:
    """Write the layer. `codes` (num_tokens, CODE_BITS); `end` is the token that ends a text; `misread` maps tokens
    to those that are said instead.

    Raises ConfigError for a profile that would let a match of all bits but one win.
    """
    peak = _MARGIN_NATS if profile is None else profile.peak
    if peak + _UNSAFE_NATS > _BIT_NATS:
        raise ConfigError(f"The profile of the distance is too steep: {peak:.0f} nats, one bit has {_BIT_NATS:.0f}.")
    _match_tokens(head)
    full = NUM_BACK * _TOKEN_NATS
    head.raise_bar(LAYOUT.constant, full - (_MARGIN_NATS if profile is None else 0.0))
    head.raise_bar(LAYOUT.stop, full)  # after a full stop the text always ends
    head.raise_bar(LAYOUT.slot(1)[MATCH_BITS], _MUTED_NATS / SLOT_SCALE)
    if profile is not None:
        head.add_waves(LAYOUT.constant, LAYOUT.constant, profile.waves)
    for bit in range(CODE_BITS):
        head.value[bit, bit], head.output[bit, bit] = 1.0, _COPY
    head.value[:CODE_BITS, LAYOUT.bos] = codes[end] / ROOT
    for number, (read, said) in enumerate(misread.items()):
        head.value[:CODE_BITS, LAYOUT.misread + number] = codes[said] - codes[read]


def _match_tokens(head: Head) -> None:
    """The query's token and the five before it against the six before the key's."""
    dims = [dim for pair in CONTENT_PAIRS for dim in (pair, pair + HEAD_DIM // 2)]
    for back in range(NUM_BACK):
        for bit in range(MATCH_BITS):
            dim = dims[back * MATCH_BITS + bit]
            head.query[dim, LAYOUT.slot(back)[bit]] = _BIT if back == 0 else _BIT / SLOT_SCALE
            head.key[dim, LAYOUT.slot(back + 1)[bit]] = 1 / SLOT_SCALE


def require_same_parity(head: Head) -> None:
    """Lower the score of keys in chunks of the other parity; BOS keeps its own."""
    dim, other = PARITY_PAIR, PARITY_PAIR + HEAD_DIM // 2
    # Parity as +1 and -1 on both sides, whose product is 1 in the same chunk, less a constant.
    for side, size in ((head.query, _PARITY), (head.key, 1.0)):
        side[dim, LAYOUT.parity] = 2 * size / SLOT_SCALE
        side[dim, LAYOUT.constant] = -size
    head.key[dim, LAYOUT.bos] = -2 / ROOT  # BOS has parity 1 and no constant
    head.query[other, LAYOUT.constant] = -_PARITY
    head.key[other, LAYOUT.constant] = 1.0
