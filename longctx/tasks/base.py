"""What a task is: needles in filler, or a list of its own making, with a question and a scorer."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from longctx.fiction.log import Log
from longctx.records import Item, Listing, Recall, Sample, Score

Measures = Literal["addressable", "retrieves", "reasons"]


@dataclass(frozen=True)
class Task(ABC):
    """A family of prompts. Subclasses are frozen dataclasses; their fields are the options."""

    name: ClassVar[str]
    measures: ClassVar[Measures]
    """Whether what it sees is that the model reads at all, finds a stated fact, or combines several."""
    instruction: ClassVar[str]
    """One or two sentences in front of the document, with an example where the task gives one."""
    stop: ClassVar[str]
    """Regular expression; an answer is complete as soon as its text contains it."""

    max_new_tokens: int = 16
    """Room kept for the completion, in tokens."""

    @abstractmethod
    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        """How right the answer's text is."""

    def judge(self, answer: str, sample: Sample) -> Score:
        """The score of the answer to one sample, where more than its targets decides."""
        return self.score(answer, sample.targets)

    @classmethod
    def has_own_filler(cls) -> bool:
        """Whether its documents hold nothing of the haystack that the sweep names."""
        return True

    def room(self, length: int) -> int:
        """Tokens kept for the completion in a context of `length` tokens."""
        return self.max_new_tokens

    def spec(self) -> str:
        """Name and all options, defaults included: what a sample's identity depends on."""
        options = ":".join(f"{key}={value}" for key, value in sorted(vars(self).items()))
        return f"{self.name}:{options}"


@dataclass(frozen=True)
class NeedleTask(Task):
    """A task that hides something in filler which has nothing to do with it."""

    filler: ClassVar[str] = ""
    """The haystack that belongs to the task; empty: the one that the sweep names."""

    @classmethod
    def has_own_filler(cls) -> bool:
        return bool(cls.filler)

    @abstractmethod
    def item(self, rng: random.Random, depth: float) -> Item:
        """Something to hide at `depth`, with its question; every choice comes from `rng`."""


@dataclass(frozen=True)
class ListTask(Task):
    """A task whose document is a list of its own making, as long as the context has room for."""

    min_entries: ClassVar[int] = 1

    @abstractmethod
    def listing(self, rng: random.Random, depth: float, num_entries: int) -> Listing:
        """A document of exactly `num_entries` entries; what is asked about stands at `depth` where that has a sense."""


@dataclass(frozen=True)
class StoryTask(Task):
    """A task about the story that is its haystack."""

    @abstractmethod
    def recall(self, log: Log, num_events: int, near: int, rng: random.Random) -> Recall | None:
        """A question about the first `num_events` events, or None: about event `near` if it can be."""
