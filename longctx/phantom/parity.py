"""The parity layer of chunked phantoms: whether a position stands in an even chunk, from its distance to BOS.

Chunks are half a period of one wave: of pi 2**pair tokens, which is why only such sizes can be had.
"""

from __future__ import annotations

import math

from longctx.phantom.head import Head
from longctx.phantom.layout import LAYOUT, ROOT, SLOT_SCALE
from longctx.phantom.profile import Wave

# Nats at the middle of a chunk. BOS wins over all other tokens, which score 0, a few tokens after a border.
_NATS = 3000.0


def write_parity(head: Head, chunk: int) -> None:
    """Look at BOS in even chunks and nowhere in odd ones, where the mean of all tokens has nothing to say."""
    pair = round(math.log2(chunk / math.pi))
    head.add_waves(LAYOUT.constant, LAYOUT.bos, [Wave(pair, _NATS, -math.pi / 2)], key_size=ROOT)
    head.value[0, LAYOUT.bos] = 1 / ROOT
    head.output[LAYOUT.parity, 0] = SLOT_SCALE
