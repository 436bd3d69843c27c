"""Needles: what one says, and filler that is made of nothing else.

RULER's niah_multikey_2 and 3 hide a needle among others that look just like it. The filler does not know which one
will be asked for, so the two kinds draw from keys that never meet: a word key is kept for questions if its hash says
so, which no reader can see, and all others are filler. Keys of 32 hexadecimal digits have 122 random bits; that two of
a billion are equal happens once in 10**19 documents.
"""

from __future__ import annotations

import random
import uuid
import zlib
from collections.abc import Iterator

from longctx.haystack.lexicon import load_lexicon

# One word key in so many is for questions only.
_RESERVED_SHARE = 16
_DIGITS = 7


def statement(noun: str, key: str, value: str) -> str:
    """The sentence that gives `value` to `key`; `noun` says what the value is: a number or a code."""
    return f"A special {noun} for {key} is {value}."


def number(rng: random.Random) -> str:
    """Seven digits, the first of them not 0."""
    return str(rng.randrange(10 ** (_DIGITS - 1), 10**_DIGITS))


def code(rng: random.Random) -> str:
    """A random UUID: 32 hexadecimal digits in five groups."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def is_reserved(key: str) -> bool:
    """Whether a word key is for questions and stands in no filler."""
    return zlib.crc32(key.encode()) % _RESERVED_SHARE == 0


def word_keys(rng: random.Random, count: int) -> list[str]:
    """Different word keys for questions."""
    words = load_lexicon("ruler_words")
    keys: list[str] = []
    while len(keys) < count:
        key = f"{rng.choice(words['adjectives'])}-{rng.choice(words['nouns'])}"
        if is_reserved(key) and key not in keys:
            keys.append(key)
    return keys


def needles_words(seed: int) -> Iterator[str]:
    """Numbers of word keys, without end; a key comes again only after all the others."""
    rng = random.Random(seed)
    words = load_lexicon("ruler_words")
    pairs = (f"{first}-{second}" for first in words["adjectives"] for second in words["nouns"])
    keys = [key for key in pairs if not is_reserved(key)]
    while True:
        rng.shuffle(keys)
        for key in keys:
            yield statement("number", key, number(rng))


def needles_uuids(seed: int) -> Iterator[str]:
    """Codes of keys that are codes themselves, without end."""
    rng = random.Random(seed)
    while True:
        yield statement("code", code(rng), code(rng))
