"""Amounts of memory and rates as people write them: 20GiB, 400GB, 2TiB, 50GB/s."""

from __future__ import annotations

import re

from longctx.errors import ConfigError

_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_bytes(text: str) -> int:
    """Bytes that `text` stands for: GiB is 1024^3, GB is 10^9. Raises ConfigError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if not match or (match[3] and not match[2]):
        raise ConfigError(f"{text!r} is not an amount of memory: write 20GiB, 400GB or 2TiB.")
    units = _BINARY if match[3] else _DECIMAL
    return int(float(match[1]) * units[match[2]])


def parse_rate(text: str) -> int:
    """Bytes a second that `text` stands for: 50GB/s is 50 x 10^9. Raises ConfigError."""
    amount, slash, second = text.strip().lower().rpartition("/")
    try:
        rate = parse_bytes(amount) if slash and second == "s" else 0
    except ConfigError:
        rate = 0
    if rate == 0:
        raise ConfigError(f"{text!r} is not a rate: write 50GB/s or 6GiB/s.")
    return rate
