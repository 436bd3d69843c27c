"""Seconds, bytes and operations for people to read; the console they go to."""

from __future__ import annotations

from rich.console import Console


def format_seconds(seconds: float) -> str:
    """1 h 05 min, 3 min, 40 s."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def format_short(seconds: float) -> str:
    """As `format_seconds`, with digits to see where it is seconds."""
    return f"{seconds:.3f} s" if seconds < 10 else format_seconds(seconds)


def format_bytes(num_bytes: int) -> str:
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if num_bytes >= size:
            return f"{num_bytes / size:.2f} {unit}"
    return f"{num_bytes:,} bytes"


def format_flops(flops: float) -> str:
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12)):
        if flops >= size:
            return f"{flops / size:,.2f} {unit}"
    return f"{flops / 1e9:,.2f} G"


def new_console() -> Console:
    return Console(highlight=False, soft_wrap=True)
