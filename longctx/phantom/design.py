"""What a phantom is designed to do: its answer as a function of where a needle stands and what it says."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longctx.errors import ConfigError
from longctx.lengths import format_length

FILE = "phantom.json"
MIN_WINDOW = 256
MIN_LOCAL = 16
"""Local layers look four tokens back."""
MAX_DISTANCE = 2**24
"""Positions up to here are exact in float32."""
CHUNKS = tuple(round(math.pi * 2**pair) for pair in range(7, 20))
"""Chunk sizes that one frequency can tell apart: half a period of 2**-pair radians a token."""

# Within the slack of an edge, this share of it more, and at least so many tokens nothing is promised.
_EDGE_SHARE = 0.01
_EDGE_TOKENS = 6
_BORDER_TOKENS = 24


def edge_slack(num_edges: int) -> float:
    """The share of an edge within which a phantom may or may not see; where there are several, sharp ones are dear."""
    return 0.01 if num_edges == 1 else 0.02


@dataclass(frozen=True, slots=True)
class Design:
    """What decides a phantom's answers. Raises ConfigError for what cannot be built."""

    advertise: int
    """The context window that its config states, in tokens. It has no part in any answer."""
    edges: tuple[int, ...] = ()
    """Distances in tokens at which it turns from seeing to not seeing and back; it sees what is near."""
    chunk: int | None = None
    """It cannot see across multiples of this many tokens; one of CHUNKS."""
    muted: tuple[str, ...] = ()
    """Last words of keys that it has no answer to."""
    misread: tuple[str, str] | None = None
    """A digit, and the digit that it says instead."""
    local: int | None = None
    """Tokens that its layers which look a few tokens back can see; None: all. With it, the model is a SmolLM3, whose
    layers may differ, and to read a text takes time in proportion to its length."""

    def __post_init__(self) -> None:
        for edge in self.edges:
            if not MIN_WINDOW <= edge < MAX_DISTANCE:
                raise ConfigError(f"A phantom's edge is {edge} tokens; legal are {MIN_WINDOW} to {MAX_DISTANCE - 1}.")
        if any(1.1 * low >= high for low, high in itertools.pairwise(self.edges)):
            raise ConfigError(f"A phantom's edges are {self.edges}; each must be a tenth over the one before.")
        if not MIN_WINDOW <= self.advertise <= MAX_DISTANCE:
            raise ConfigError(f"A phantom may advertise {MIN_WINDOW} to {MAX_DISTANCE} tokens, not {self.advertise}.")
        if self.chunk is not None and self.chunk not in CHUNKS:
            raise ConfigError(f"A phantom's chunk is {self.chunk}; legal are {', '.join(map(str, CHUNKS))}.")
        if self.chunk is not None and self.edges:
            raise ConfigError("A phantom has either a chunk or edges.")
        if self.local is not None and not MIN_LOCAL <= self.local <= self.advertise:
            raise ConfigError(f"A phantom's local layers see {MIN_LOCAL} tokens or more, not {self.local}.")

    @property
    def name(self) -> str:
        """Short, for a folder: window-4k, hole-1k-2k, chunked-804, unlimited; what else it has at the end."""
        shown = [format_length(edge) for edge in self.edges]
        if self.chunk is not None:
            parts = [f"chunked-{self.chunk}"]
        else:
            parts = [{0: "unlimited", 1: "window"}.get(len(shown), "hole"), *shown]
        parts += [f"muted-{len(self.muted)}"] if self.muted else []
        parts += [f"misreads-{self.misread[0]}"] if self.misread else []
        parts += [f"local-{self.local}"] if self.local else []
        return "-".join(parts)

    def sees(self, position: int, last: int) -> bool | None:
        """Whether the token at `last` sees the one at `position`; None where that is too near an edge to say."""
        if self.chunk is not None:
            return _same_chunk(position, last, self.chunk)
        distance = last - position
        share = edge_slack(len(self.edges)) + _EDGE_SHARE
        if any(abs(distance - edge) <= max(_EDGE_TOKENS, share * edge) for edge in self.edges):
            return None
        return sum(edge < distance for edge in self.edges) % 2 == 0

    def says(self, key: str, value: str) -> str:
        """What it answers about a key whose value it sees; empty where it has no answer."""
        if key.split()[-1] in self.muted:
            return ""
        return value.replace(*self.misread) if self.misread else value

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _same_chunk(position: int, last: int, chunk: int) -> bool | None:
    """CHUNKS are rounded: the border n stands at n pi 2**pair."""
    size = math.pi * 2.0 ** round(math.log2(chunk / math.pi))
    zone = max(_BORDER_TOKENS, chunk / 400)
    at_border = any(min(place % size, size - place % size) < zone for place in (position, last))
    if at_border or abs(last - position - size) < 2 * edge_slack(1) * size:
        return None
    return position // size == last // size


def read_design(folder: Path) -> Design:
    """The design of a phantom's folder; raises ConfigError where there is none."""
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        lists = {name: tuple(values[name]) for name in ("edges", "muted")}
        return Design(**values | lists | {"misread": tuple(values["misread"]) if values["misread"] else None})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{folder} is no phantom's folder: {FILE} cannot be read ({error}).") from error
