"""RULER's noise: one short passage, over and over. It is meant to repeat, so that nothing but the needle is new.

Our own wording. The sentences have two to five words and eight, so that whole ones with one or two of them out of
turn make any number of tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

PASSAGE = (
    "It rains.",
    "The sun sets.",
    "Some birds sing there.",
    "We walk to the water.",
    "Then we turn and go back home again.",
)


def repeat_noise(seed: int) -> Iterator[str]:
    """The passage without end, the same for every `seed`."""
    return itertools.cycle(PASSAGE)
