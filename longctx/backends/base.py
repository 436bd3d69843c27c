"""What a backend is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from longctx.records import Answer, Prompt, TokenIds


class Backend(Protocol):
    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Everything about the model and how it runs that can change an answer; JSON values."""
        ...

    def answers(
        self, prompts: Sequence[Prompt], drafts: Mapping[str, TokenIds], on_progress: Callable[[int], None]
    ) -> Iterator[Answer]:
        """An answer for every prompt, as they come, in any order.

        A failure of one prompt is an answer with that status. `on_progress` gets the
        floating-point operations done since the last call.
        """
        ...
