"""Context lengths as people write them: 4096, 4k, 1M, 512..8k, 1k,4k,8k.

k is 1,024 and M is 1,048,576 tokens, as model cards mean them.
"""

from __future__ import annotations

import re

from longctx.errors import ConfigError

_UNITS = {"": 1, "k": 1024, "m": 1024**2}
_LEGAL = "write 4096, 4k, 1M, a doubling range 1k..32k, or a list 1k,4k,8k"


def parse_length(text: str) -> int:
    """Tokens that `text` stands for; raises ConfigError."""
    match = re.fullmatch(r"([0-9]+)([kKmM]?)", text.strip())
    if not match or int(match[1]) == 0:
        raise ConfigError(f"{text!r} is not a length: {_LEGAL}.")
    return int(match[1]) * _UNITS[match[2].lower()]


def doubling(first: int, last: int) -> list[int]:
    """first, 2 x first, ... and always `last` itself."""
    lengths = []
    while first < last:
        lengths.append(first)
        first *= 2
    return [*lengths, last]


def parse_lengths(text: str) -> tuple[int, ...]:
    """Ascending context lengths that `text` lists; raises ConfigError."""
    lengths: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.partition("..")
        if not dots:
            lengths.add(parse_length(part))
            continue
        low, high = parse_length(first), parse_length(last)
        if low >= high:
            raise ConfigError(f"{part!r} is not a range of lengths, since it does not go up: {_LEGAL}.")
        lengths.update(doubling(low, high))
    return tuple(sorted(lengths))


def format_length(length: int) -> str:
    """Short and exact: 8192 is 8k, 10485760 is 10M, 1000 is 1000."""
    for unit, size in (("M", 1024**2), ("k", 1024)):
        if length >= size and length % size == 0:
            return f"{length // size}{unit}"
    return str(length)
