"""What a phantom is designed to say to a sample, from the sample's own tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from longctx.errors import ConfigError
from longctx.phantom.design import Design
from longctx.records import Sample
from longctx.tasks import parse_task

_KEY = re.compile(r"special number for (.+?) that the text states")
# A needle's value stands among its first so many tokens.
_NEEDLE_TOKENS = 64
_TASK = "niah_single"


@dataclass(frozen=True, slots=True)
class Expectation:
    """The designed answer to one sample, and where its document stands."""

    sample_id: str
    document: range
    """Positions of the document in the prompt."""
    text: str | None
    """Empty: nothing is said. None: the needle is too near an edge of the design to say."""
    distance: int | None = None
    """Tokens from the needle's value to the last token of the prompt; None where no needle is asked for."""
    can_say: bool = True
    """Whether it would be right if it saw the needle."""


def expect(sample: Sample, design: Design) -> Expectation:
    """The designed answer; raises ConfigError for a task that finds a fact and that phantoms do not know.

    They cannot put facts together, whatever the task.
    """
    task, prompt = parse_task(sample.cell.task), sample.prompt
    document = range(len(prompt.head_ids), prompt.num_prefix_tokens)
    if task.measures == "reasons":
        return Expectation(sample.id, document, "")
    key = _KEY.search(prompt.tail_text)
    if task.name != _TASK or key is None:
        raise ConfigError(f"Phantoms are designed to answer {_TASK}, not {task.name}.")
    said = design.says(key[1], sample.targets[0])
    can_say = said == sample.targets[0]
    if sample.control == "closed_book":
        return Expectation(sample.id, document, "", None, can_say)
    position, last = _value_position(sample), prompt.num_tokens - 1
    sees = design.sees(position, last)
    text = None if sees is None else said if sees else ""
    return Expectation(sample.id, document, text, last - position, can_say)


def _value_position(sample: Sample) -> int:
    """The first token of the needle's value, counted from the start of the prompt.

    A needle that does not hold its value gives its own place: whatever is answered then, it is not found.
    """
    first, wanted = sample.support_positions[0], sample.draft_ids
    start = first - len(sample.prompt.head_ids)
    ids = sample.prompt.document.token_ids[start : start + _NEEDLE_TOKENS]
    for offset in range(len(ids) - len(wanted) + 1):
        if len(wanted) and np.array_equal(ids[offset : offset + len(wanted)], wanted):
            return first + offset
    return first
