"""A backend without a model: a function from a prompt's tokens to an answer's text.

It lets the whole way from config to report be run, and tested, where torch is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from longctx.records import Answer, Prompt, Status, TokenIds


@dataclass(frozen=True)
class ScriptedBackend:
    """`answer` may raise MemoryError or RuntimeError, which become rows with that status."""

    answer: Callable[[Prompt], str]
    fingerprint: Mapping[str, Any] = field(default_factory=lambda: {"name": "scripted", "window": 2**20})

    def answers(
        self, prompts: Sequence[Prompt], drafts: Mapping[str, TokenIds], on_progress: Callable[[int], None]
    ) -> Iterator[Answer]:
        for prompt in prompts:
            counts = (prompt.num_tokens, prompt.num_prefix_tokens)
            try:
                text = self.answer(prompt)
            except (MemoryError, RuntimeError) as error:
                status: Status = "oom" if isinstance(error, MemoryError) else "error"
                yield Answer(prompt.id, status, "", 0, *counts, None, 0.0, f"{type(error).__name__}: {error}")
            else:
                yield Answer(prompt.id, "ok", text, len(text.split()), *counts, None, 0.0)
