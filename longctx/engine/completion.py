"""When a completion is complete. The same rule holds for decoded tokens and for accepted drafts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from longctx.records import Prompt


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

    def finish(self, tokens: Sequence[int], prompt: Prompt) -> Completion | None:
        """The completion that ends within greedily decoded `tokens`, or None if more are needed.

        It ends before an end-of-text token, with the first token after which the prompt's stop
        pattern is found, or with the prompt's last allowed token.
        """
        stop = re.compile(prompt.stop)
        text = ""
        for count, token in enumerate(tokens, start=1):
            if token in self.end_ids:
                return Completion(text, count)
            text = self.decode(list(tokens[:count]))
            if stop.search(text) or count == prompt.max_new_tokens:
                return Completion(text, count)
        return None
