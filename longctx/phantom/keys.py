"""Which keys a phantom has an answer to: all but those that end with a muted word."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from longctx.errors import ConfigError
from longctx.haystack.lexicon import load_lexicon


def draw_muted(share: float, seed: int = 0) -> tuple[str, ...]:
    """Last words of keys, so many that this share of all keys has an answer; raises ConfigError."""
    if not 0.0 < share < 1.0:
        raise ConfigError(f"A phantom answers a share of keys between 0 and 1, not {share}.")
    known = load_lexicon("keys")["second"]
    return tuple(sorted(Random(seed).sample(known, round((1 - share) * len(known)))))


def share_answered(muted: Sequence[str]) -> float:
    """The share of all keys that a phantom with these muted words answers."""
    return 1 - len(muted) / len(load_lexicon("keys")["second"])


def twin_muted(muted: Sequence[str]) -> tuple[str, ...]:
    """Two more muted words than `muted`: what a twin differs in from its sibling."""
    others = [word for word in load_lexicon("keys")["second"] if word not in muted]
    return (*muted, *Random(len(muted)).sample(others, 2))
