"""Fiction recall: questions about a generated novel, whose answers are known exactly.

Our own. The haystack is the story itself, so nothing is inserted that could stand out, and what is asked has
to be told apart from hundreds of like events. Several facts have to be combined for 2 hops and more.

    Text: ... Ina gave the red kettle to Tobit. ... Tobit carried it down to the ferry house. ...
    Question: Where is the red kettle now?
    Answer: The red kettle is at                                target: the ferry house

Known traps: a model that names several candidates is wrong, also if the right one is among them. Chance is
one in as many candidates as the row says; closed-book controls show what is guessed.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import ClassVar

from longctx.errors import ConfigError, UnknownNameError
from longctx.fiction.log import Log
from longctx.fiction.questions import KINDS, MAX_HOPS, Question, Wanted, ask
from longctx.records import Recall, Sample, Score
from longctx.scoring import is_slip
from longctx.tasks.base import Measures, StoryTask

_ARTICLE = r"^(the|a|an)\s+"


def score_choice(answer: str, target: str, candidates: tuple[str, ...]) -> Score:
    """1.0 if the answer's first sentence names the target and no other candidate, in whole words.

    A candidate that is a part of a longer one which is named ("the inn" in "the inn by the mill") does not count.
    """
    said = re.split(r"(?<=[.!?])\s|\n", answer.strip(), maxsplit=1)[0].lower()
    named = set()
    for candidate in sorted({*candidates, target}, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(_bare(candidate))}(?!\w)"
        if re.search(pattern, said):
            named.add(_bare(candidate))
            said = re.sub(pattern, " ", said)
    exact = _bare(answer.strip().rstrip(".!")) == _bare(target)
    near = bool(said) and not named and is_slip(_bare(said.rstrip(".!?")), _bare(target))
    return Score(float(named == {_bare(target)}), near_miss=near, strict=float(exact))


def _bare(text: str) -> str:
    return re.sub(_ARTICLE, "", text.strip().lower())


@dataclass(frozen=True)
class AboutFiction:
    """Questions about a story.

    `hops`: facts to combine, 0 for any number; `kind`: kinds of questions joined by +, or all; `min_span`, `max_span`:
    events from the first needed one to the last, 0 for any; `distractors`: at least so many other events about
    the same people and things.
    """

    name: ClassVar[str]
    measures: ClassVar[Measures] = "reasons"
    stop: ClassVar[str] = r"[.!?](\s|$)|\n"

    max_new_tokens: int = 24
    hops: int = 0
    kind: str = "all"
    min_span: int = 0
    max_span: int = 0
    distractors: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.hops <= MAX_HOPS:
            raise ConfigError(f"{self.name}: hops is {self.hops}; it must be 1 to {MAX_HOPS}, or 0 for any.")
        for kind in self._kinds:
            if kind not in KINDS:
                raise UnknownNameError(f"kind of {self.name}", kind, ("all", *KINDS))
        for option in ("min_span", "max_span", "distractors"):
            if getattr(self, option) < 0:
                raise ConfigError(f"{self.name}: {option} is {getattr(self, option)}; it must be 0 or more.")
        if 0 < self.max_span < self.min_span:
            raise ConfigError(f"{self.name}: max_span is {self.max_span}, below min_span {self.min_span}.")

    @property
    def _kinds(self) -> tuple[str, ...]:
        return KINDS if self.kind == "all" else tuple(self.kind.split("+"))

    def ask(self, log: Log, num_events: int, rng: random.Random, near: int | None = None) -> Question | None:
        """A question about the first `num_events` events, about event `near` if it can be; None if there is none."""
        wanted = Wanted(self.hops or None, self.min_span, self.max_span or None, self.distractors)
        return ask(log, num_events, rng, kinds=self._kinds, wanted=wanted, near=near)

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        return score_choice(answer, targets[0], ())

    def judge(self, answer: str, sample: Sample) -> Score:
        return score_choice(answer, sample.targets[0], sample.question.candidates)


@dataclass(frozen=True)
class Fiction(AboutFiction, StoryTask):
    """Questions about the story that is the haystack, with the options of all questions about fiction."""

    name: ClassVar[str] = "fiction"
    instruction: ClassVar[str] = (
        "Read the story below and answer the question about it. The answer follows from what the story tells as fact."
    )

    def recall(self, log: Log, num_events: int, near: int, rng: random.Random) -> Recall | None:
        found = self.ask(log, num_events, rng, near)
        if found is None:
            return None
        return Recall(
            support_events=found.support,
            question=found.text,
            answer_prefix=found.answer_prefix,
            targets=(found.answer,),
            candidates=found.candidates,
            kind=found.kind,
            hops=found.hops,
        )
