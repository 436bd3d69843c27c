"""The few words of a prompt that a reader of a report wants to see: around what the answer needs, and the question."""

from __future__ import annotations

from collections.abc import Callable

from longctx.records import Sample

_BEFORE, _AFTER = 24, 48
"""Tokens."""
_MAX_PLACES = 4
_MAX_CHARACTERS = 600


def excerpt(sample: Sample, decode: Callable[[list[int]], str]) -> str:
    """The text around each place that the answer needs, joined by […]; at most 600 characters, empty if there is none.

    Of more than four places the first four are shown.
    """
    ranges: list[tuple[int, int]] = []
    for position in sorted(sample.support_positions)[:_MAX_PLACES]:
        start, stop = max(0, position - _BEFORE), min(sample.prompt.num_tokens, position + _AFTER)
        if ranges and start <= ranges[-1][1]:
            ranges[-1] = ranges[-1][0], stop
        else:
            ranges.append((start, stop))
    # A range may begin or end inside a character of several tokens.
    texts = [decode(sample.prompt.ids_between(*borders).tolist()).strip("\ufffd").strip() for borders in ranges]
    room = _MAX_CHARACTERS // max(1, len(texts)) - len(" […] ")
    return " […] ".join(text if len(text) <= room else f"{text[:room]}…" for text in texts)


def question(sample: Sample) -> str:
    """The end of the prompt, what stands after the document; at most 600 characters of it."""
    return sample.prompt.tail_text[-_MAX_CHARACTERS:]
