"""Several haystacks in stated shares: `mix:austen=0.7,files:/data/contracts=0.3`.

Shares are of characters, which are near to shares of tokens. The part that is furthest behind its share goes on
with one passage: a whole document, or some 8,000 characters of one that is longer (a novel would otherwise be all
that a prompt holds). The mix ends when the part whose turn it is runs dry, so the shares hold to the end.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from longctx.errors import ConfigError
from longctx.haystack import Source, get_source

_PASSAGE = 8000
_TOLERANCE = 0.001
# A spec may itself hold "=" (an option) and ",": a part ends at a number before a comma or the end.
_PART = re.compile(r"([^=].*?)=([0-9.]+)(?:,|$)")


def mix_source(spec: str) -> Source:
    """The source of `mix:SPEC=SHARE,SPEC=SHARE`; raises ConfigError. It is seeded if all parts are."""
    shares = parse_mix(spec)
    parts = [get_source(part) for part in shares]
    found = hashlib.sha256(Path(__file__).read_bytes())
    found.update(repr([(part.digest, share) for part, share in zip(parts, shares.values(), strict=True)]).encode())
    seeded = all(part.seeded for part in parts)

    def sentences(seed: int) -> Iterator[str]:
        streams = [_passages(part, seed if seeded else 0) for part in parts]
        return _interleave(streams, list(shares.values()))

    return Source(spec, found.hexdigest()[:16], sentences, seeded)


def parse_mix(spec: str) -> dict[str, float]:
    """Shares by the spec of the part; raises ConfigError."""
    text = spec.removeprefix("mix:")
    shares: dict[str, float] = {}
    place = 0
    while place < len(text):
        match = _PART.match(text, place)
        if match is None:
            raise ConfigError(f"{spec}: {text[place:]!r} is not HAYSTACK=SHARE. Legal: mix:python=0.7,narrator=0.3")
        part, share = match[1], _share(match[2], spec)
        if part in shares or part.startswith("mix:"):
            raise ConfigError(f"{spec}: {part!r} is {'there twice' if part in shares else 'itself a mix'}.")
        shares[part] = share
        place = match.end()
    total = math.fsum(shares.values())
    if abs(total - 1) > _TOLERANCE:
        raise ConfigError(f"{spec}: the shares add up to {total:g}; they must add up to 1.")
    return shares


def _share(text: str, spec: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ConfigError(f"{spec}: {text!r} is not a share. Legal: above 0, at most 1.")
    return share


def _passages(part: Source, seed: int) -> Iterator[list[str]]:
    """Sentences that stay together; a generator, which has no documents, speaks in passages too."""
    documents: Iterable[Iterator[str]] = [part.sentences(seed)] if part.documents is None else part.documents()
    for document in documents:
        passage: list[str] = []
        length = 0
        for sentence in document:
            passage.append(sentence)
            length += len(sentence) + 1
            if length >= _PASSAGE:
                yield passage
                passage, length = [], 0
        if passage:
            yield passage


def _interleave(streams: list[Iterator[list[str]]], shares: list[float]) -> Iterator[str]:
    taken = [0] * len(streams)
    while True:
        behind = min(range(len(streams)), key=lambda part: taken[part] / shares[part])
        passage = next(streams[behind], None)
        if passage is None:
            return
        yield from passage
        taken[behind] += sum(len(sentence) + 1 for sentence in passage)
