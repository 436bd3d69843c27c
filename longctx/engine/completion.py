"""When a completion is complete. The same rule holds for decoded tokens and for accepted drafts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from longctx.records import Prompt
from longctx.scoring import NEVER_STOP


@dataclass(frozen=True, slots=True)
class Completion:
    text: str
    num_tokens: int
    """Tokens of the text and, if one came, the end-of-text token."""


def end_ids(model: Any) -> frozenset[int]:
    """The end-of-text tokens of a transformers model."""
    ends = model.generation_config.eos_token_id
    ends = ends if ends is not None else model.config.eos_token_id
    return frozenset([ends] if isinstance(ends, int) else ends or [])


@dataclass(frozen=True, slots=True)
class Finisher:
    """Knows a model's end-of-text tokens and how to turn tokens into text."""

    decode: Callable[[list[int]], str]
    end_ids: frozenset[int]

    def start(self, prompt: Prompt) -> Answering:
        """An answer to `prompt` of no tokens yet."""
        return Answering(self, prompt)

    def finish(self, tokens: Sequence[int], prompt: Prompt) -> Completion | None:
        """The completion that ends within greedily decoded `tokens`, or None if more are needed."""
        return self.start(prompt).add(tokens)


class Answering:
    """An answer while it is decoded.

    It ends before an end-of-text token, with the first token after which the prompt's stop pattern is found,
    or with the prompt's last allowed token.
    """

    def __init__(self, finisher: Finisher, prompt: Prompt) -> None:
        self._finisher = finisher
        self._stop = None if prompt.stop == NEVER_STOP else re.compile(prompt.stop)
        self._max_new_tokens = prompt.max_new_tokens
        self._tokens: list[int] = []

    def add(self, tokens: Sequence[int]) -> Completion | None:
        """The completion if it ends within the next `tokens`, else None."""
        for token in tokens:
            if token in self._finisher.end_ids:
                return Completion(self._finisher.decode(self._tokens), len(self._tokens) + 1)
            self._tokens.append(token)
            full = len(self._tokens) == self._max_new_tokens
            if self._stop is None and not full:
                continue
            text = self._finisher.decode(list(self._tokens))
            if full or (self._stop is not None and self._stop.search(text)):
                return Completion(text, len(self._tokens))
        return None
