"""Fiction recall in any haystack: a small story's events, each one sentence, woven into unrelated text.

Our own. The events stand in the order in which they happen, those that the answer needs and the others, so that
novels, contracts or code can be the filler.

    Text: ... Ina gave the red kettle to Tobit. ... Tobit took the red kettle to the ferry house. ...
    Question: Where is the red kettle now?
    Answer: The red kettle is at                                target: the ferry house

Known traps: as for fiction; and the sentences do stand out from the filler.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from longctx.errors import ConfigError
from longctx.fiction.story import Story
from longctx.records import Item, Needle
from longctx.tasks.base import NeedleTask
from longctx.tasks.draws import depths_around
from longctx.tasks.fiction import AboutFiction

_MAX_STORIES = 200


@dataclass(frozen=True)
class FictionFacts(AboutFiction, NeedleTask):
    """`facts`: events woven in; and the options of all questions about fiction."""

    name: ClassVar[str] = "fiction_facts"
    instruction: ClassVar[str] = (
        "Scattered over the text below are sentences of one story. Read them and answer the question about it."
    )

    facts: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        if not max(2, self.hops) <= self.facts <= 1000:
            raise ConfigError(f"{self.name}: facts is {self.facts}; it must be {max(2, self.hops)} to 1000.")

    def item(self, rng: random.Random, depth: float) -> Item:
        """Raises ConfigError if so few events never allow such a question."""
        for _ in range(_MAX_STORIES):
            story = Story(rng.getrandbits(63))
            passages = iter(story)
            while len(story.log) < self.facts:
                next(passages)
            found = self.ask(story.log, self.facts, rng)
            if found is not None:
                break
        else:
            raise ConfigError(f"{self.name}: {self.facts} facts allow no such question of kind {self.kind}; take more.")
        first = found.support[0]
        depths = depths_around(rng, depth, first, self.facts - first - 1)
        return Item(
            needles=tuple(Needle(story.log.statement(i), at) for i, at in zip(range(self.facts), depths, strict=True)),
            question=found.text,
            answer_prefix=found.answer_prefix,
            targets=(found.answer,),
            support=found.support,
            candidates=found.candidates,
            kind=found.kind,
            hops=found.hops,
        )
