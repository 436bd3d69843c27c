"""Facts about people and things that change in the course of the text: what holds in the end?

After bAbI (Weston et al. 2015, arXiv 1502.05698) as BABILong puts it into long text (Kuratov et al. 2024, arXiv
2406.10149): kinds like its first five and ten more, with stories of our own.

    Text: ... Verity Peltomire took the Peltomire crown. ... Casimir Peltomire walked to the attic. ...
          ... Verity Peltomire went to the kitchen. ...
    Question: Where is the Peltomire crown?
    Answer: The Peltomire crown is in the       target: kitchen

`kind` is one of the fifteen in state_tracking_kinds, or all, which draws one for every item. The first fact that the
answer needs stands at the cell's depth, those before it in front of it, the rest anywhere behind it. `distractors` more
facts tell of the same people and of others. Scored as in BABILong: of the closed set that the answer is from, the
labels in the answer's first sentence, in small letters, must be the target alone, or for lists exactly the set.

Known traps: BABILong leaves out labels that the question names; our questions name none of their answer's set,
so nothing needs leaving out. Labels are whole words here: there, "no" is found in "know". A sentence may end with ! ?
or a line break, not with a full stop alone. BABILong puts a fact with "he" anywhere after the one that names him, in
prose full of other men; here both are one needle. At depth 1.0 all facts from the first needed one on stand together at
the end. Guessing is right once in two to eight times, by kind: see the closed-book control. Two items of a packed
document are of one family once in 24,000 pairs.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import ClassVar

from longctx.errors import ConfigError, UnknownNameError
from longctx.haystack.lexicon import load_lexicon
from longctx.records import Item, Needle, Score
from longctx.scoring import is_slip
from longctx.tasks.base import Measures, NeedleTask
from longctx.tasks.draws import depths_around
from longctx.tasks.state_tracking_cast import Cast
from longctx.tasks.state_tracking_kinds import KINDS, NOTHING, NUMBERS, VERDICTS

_FIGURES = {"0": "none", "zero": "none", **{str(count): NUMBERS[count] for count in range(1, len(NUMBERS))}}
_ANY = "all"


@dataclass(frozen=True)
class StateTracking(NeedleTask):
    """`kind`: what is asked, or all; `distractors`: facts that the answer does not need."""

    name: ClassVar[str] = "state_tracking"
    measures: ClassVar[Measures] = "reasons"
    instruction: ClassVar[str] = (
        "Facts about a few people with the same family name are hidden in the text below, in the order in which they "
        "happen; later ones may change what earlier ones say. Answer the question about them with one word, for "
        "example: attic. If several things are asked for, part them by commas, for example: flute, mirror. If it is "
        "none, say: nothing."
    )
    stop: ClassVar[str] = r"\S[^\S\n]*[.!?\n]"

    max_new_tokens: int = 24
    kind: str = _ANY
    distractors: int = 4

    def __post_init__(self) -> None:
        if self.kind not in {_ANY, *KINDS}:
            raise UnknownNameError(f"kind of {self.name}", self.kind, {_ANY, *KINDS})
        if not 0 <= self.distractors <= 20:
            raise ConfigError(f"{self.name}: distractors is {self.distractors}; it must be 0 to 20.")
        if self.max_new_tokens < 16:
            raise ConfigError(f"{self.name}: max_new_tokens is {self.max_new_tokens}; a list needs at least 16.")

    def item(self, rng: random.Random, depth: float) -> Item:
        kind = rng.choice(list(KINDS)) if self.kind == _ANY else self.kind
        story = KINDS[kind](Cast(rng), self.distractors)
        first = story.support[0]
        places = depths_around(rng, depth, first, len(story.facts) - first - 1)
        return Item(
            needles=tuple(Needle(fact, place) for fact, place in zip(story.facts, places, strict=True)),
            question=story.question,
            answer_prefix=story.answer_prefix,
            targets=(story.target,),
            support=story.support,
            candidates=story.candidates,
            kind=kind,
            hops=len(story.support),
        )

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        """BABILong's rule: the labels in the first sentence are the target's, no more and no fewer."""
        (target,) = targets
        wanted = set(target.lower().split(", "))
        labels = next(labels for labels in label_sets() if wanted <= labels)
        said = re.split(r"[.!?\n]", answer.strip().lower())[0].strip()
        found = {_FIGURES.get(word, word) for word in re.findall(r"\w+", said)} & labels
        near = bool(said) and not found and is_slip(said, target.lower())
        return Score(float(found == wanted), near_miss=near)


def label_sets() -> list[set[str]]:
    """The closed sets that answers are from, in small letters. No label is in two of them."""
    words, names = load_lexicon("state_tracking"), load_lexicon("characters")
    return [
        {name.lower() for name in names["women"] + names["men"]},
        *({*words[kind]} for kind in ("rooms", "buildings", "motives")),
        {*words["objects"], NOTHING},
        {*NUMBERS},
        {*VERDICTS},
    ]
