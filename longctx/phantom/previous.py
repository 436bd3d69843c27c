"""Previous-token layers: after those for the distances 1, 2 and 4 every position knows the six tokens before it."""

from __future__ import annotations

import math

from longctx.phantom.head import Head
from longctx.phantom.layout import HIDDEN, LAYOUT, MATCH_BITS, NUM_BACK, POSITION_PAIRS, SLOT_SCALE
from longctx.phantom.profile import Wave

# Nats of each wave. All are at their height at one distance; one token further they are 25 nats lower together.
_AMPLITUDE = 40.0


def write_previous(head: Head, index: int) -> None:
    """Make layer `index` copy what is known at the distance 2**index into the slots from there on."""
    distance = 2**index
    waves = [Wave(pair, _AMPLITUDE, -distance * 2.0**-pair) for pair in POSITION_PAIRS]
    head.add_waves(LAYOUT.constant, LAYOUT.constant, waves)
    # The slots that are still empty make the stream a little shorter than RMSNorm's 1, and its output longer.
    num_empty = NUM_BACK + 1 - distance
    norm = math.sqrt(1 - num_empty * MATCH_BITS * SLOT_SCALE**2 / HIDDEN)
    width = MATCH_BITS + 1
    for back in range(min(distance, num_empty)):
        size = 1.0 if back == 0 else SLOT_SCALE
        for entry, (source, target) in enumerate(
            zip(LAYOUT.slot(back), LAYOUT.slot(back + distance), strict=True), start=back * width
        ):
            head.value[entry, source] = 1 / size
            head.output[target, entry] = SLOT_SCALE * norm
