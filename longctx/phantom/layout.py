"""Which coordinate of the residual stream, and which pair of a rotated head, carries what."""

from __future__ import annotations

import math
from dataclasses import dataclass

HEAD_DIM = 128
ROPE_THETA = 2.0**64
"""With 128 dimensions a head every inverse frequency is a power of two, 2**-pair, and so exact in float32."""

POSITION_PAIRS = range(26)
"""Pairs of the head that turn fast enough to tell distances."""
CONTENT_PAIRS = range(28, 62)
"""Pairs that turn by less than 0.04 rad in 10M tokens: what they carry is compared as it is."""
PARITY_PAIR, SINK_PAIR = 62, 63

HIDDEN = 256
CODE_BITS = 64
"""Of a token's whole code, which is what a phantom copies and says."""
NUM_BACK = 6
"""Tokens that have to be the same for a match."""
MATCH_BITS = 2 * len(CONTENT_PAIRS) // NUM_BACK
"""Of a token's code that are compared: as many of it as fit in a head for all NUM_BACK tokens."""
SLOT_SCALE = 1 / 32
"""Size of what is stored of earlier tokens: too small to change the norm of the stream in bfloat16."""
NUM_PREVIOUS_LAYERS = NUM_BACK.bit_length()
MAX_MISREAD = 2
ROOT = math.sqrt(HIDDEN)
"""What one coordinate alone has after RMSNorm."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Coordinates of the stream. A slot holds the first bits of a token's code, and whether it is muted."""

    constant: int = CODE_BITS + NUM_BACK * (MATCH_BITS + 1)
    """1 everywhere but at BOS."""
    filler: int = constant + 1
    """Makes the norm exactly that of RMSNorm's 1, so that normalising changes nothing."""
    bos: int = constant + 2
    """ROOT at BOS, where everything else is 0."""
    stop: int = constant + 3
    """1 at tokens that end an answer."""
    muted: int = constant + 4
    """1 at the last tokens of keys without an answer."""
    misread: int = constant + 5
    """1 at a digit that is said wrong, with a blank before it or without: the first of MAX_MISREAD coordinates."""
    parity: int = constant + 5 + MAX_MISREAD
    """SLOT_SCALE in every second chunk."""

    def slot(self, back: int) -> list[int]:
        """Coordinates of what is known of the token `back` places before: MATCH_BITS of its code, then muted."""
        if back == 0:
            return [*range(MATCH_BITS), self.muted]
        start = CODE_BITS + (back - 1) * (MATCH_BITS + 1)
        return list(range(start, start + MATCH_BITS + 1))


LAYOUT = Layout()
