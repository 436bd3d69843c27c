"""What a task is."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from longctx.records import Item, Score


@dataclass(frozen=True)
class Task(ABC):
    """A family of prompts. Subclasses are frozen dataclasses; their int fields are the options."""

    name: ClassVar[str]
    instruction: ClassVar[str]
    """One or two sentences in front of the document."""
    stop: ClassVar[str]
    """Regular expression; an answer is complete as soon as its text contains it."""

    max_new_tokens: int = 16
    """Room kept for the completion, in tokens."""

    @abstractmethod
    def item(self, rng: random.Random) -> Item:
        """One fact with its question; every choice comes from `rng`."""

    @abstractmethod
    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        """How right the answer's text is."""

    def spec(self) -> str:
        """Name and all options, defaults included: what a sample's identity depends on."""
        options = ":".join(f"{key}={value}" for key, value in sorted(vars(self).items()))
        return f"{self.name}:{options}"
