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

from longctx.errors import ConfigError, UnknownNameError
from longctx.fiction.questions import KINDS, MAX_HOPS, ask
from longctx.fiction.story import Story
from longctx.records import Item, Needle, Sample, Score
from longctx.tasks.base import Measures, NeedleTask
from longctx.tasks.fiction import Fiction, score_choice

_MAX_STORIES = 200


@dataclass(frozen=True)
class FictionFacts(NeedleTask):
    """`facts`: events woven in; `hops`: facts to combine, 0 for any number; `kind`: one kind of question, or all."""

    name: ClassVar[str] = "fiction_facts"
    measures: ClassVar[Measures] = "reasons"
    instruction: ClassVar[str] = (
        "Scattered over the text below are sentences of one story. Read them and answer the question about it."
    )
    stop: ClassVar[str] = Fiction.stop

    max_new_tokens: int = 24
    facts: int = 12
    hops: int = 0
    kind: str = "all"

    def __post_init__(self) -> None:
        if not 2 <= self.facts <= 1000:
            raise ConfigError(f"{self.name}: facts is {self.facts}; it must be 2 to 1000.")
        if not 0 <= self.hops <= min(MAX_HOPS, self.facts):
            raise ConfigError(f"{self.name}: hops is {self.hops}; it must be 1 to {MAX_HOPS}, or 0 for any.")
        if self.kind != "all" and self.kind not in KINDS:
            raise UnknownNameError(f"kind of {self.name}", self.kind, ("all", *KINDS))

    def item(self, rng: random.Random, depth: float) -> Item:
        """Raises ConfigError if so few events never allow such a question."""
        kinds = KINDS if self.kind == "all" else (self.kind,)
        for _ in range(_MAX_STORIES):
            story = Story(rng.getrandbits(63))
            passages = iter(story)
            while len(story.log) < self.facts:
                next(passages)
            found = ask(story.log, self.facts, rng, kinds=kinds, hops=self.hops or None)
            if found is not None:
                break
        else:
            raise ConfigError(f"{self.name}: {self.facts} facts allow no question of kind {self.kind}; take more.")
        first = found.support[0]
        before = sorted(rng.uniform(0.0, depth) for _ in range(first))
        after = sorted(rng.uniform(depth, 1.0) for _ in range(first + 1, self.facts))
        depths = [*before, depth, *after]
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

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        return score_choice(answer, targets[0], ())

    def judge(self, answer: str, sample: Sample) -> Score:
        return score_choice(answer, sample.targets[0], sample.question.candidates)
