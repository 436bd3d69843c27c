"""Is all of the prompt read? One code in its first, middle or last tokens, asked for before and after the text.

    The text below states one code. What is the code? ...
    Text: The code is 4043756. ...
    Question: What is the code that the text states?
    Answer: The code is                                  target: 4043756

A prompt that was cut shows where: what is gone cannot be said, and nobody guesses seven digits. The question stands
in front too, so that a prompt that lost its end is still a question. Known traps: a weak model may read a code and not
find it, so a canary found proves that its place was read, and one that was not found proves nothing by itself.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from longctx.records import Item, Needle, Score
from longctx.scoring import NUMBER_STOP, score_number
from longctx.tasks.base import Measures, NeedleTask

DEPTHS = (0.0, 0.5, 1.0)
"""First, middle and last."""
_DIGITS = 7


@dataclass(frozen=True)
class Canary(NeedleTask):
    name: ClassVar[str] = "canary"
    measures: ClassVar[Measures] = "addressable"
    instruction: ClassVar[str] = (
        "The text below states one code. What is the code? Remember it, and say it after the text."
    )
    stop: ClassVar[str] = NUMBER_STOP

    def item(self, rng: random.Random, depth: float) -> Item:
        code = str(rng.randrange(10 ** (_DIGITS - 1), 10**_DIGITS))
        return Item(
            needles=(Needle(f"The code is {code}.", depth),),
            question="What is the code that the text states?",
            answer_prefix="The code is",
            targets=(code,),
        )

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        return score_number(answer, targets)
