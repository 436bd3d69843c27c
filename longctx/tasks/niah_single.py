"""One needle in a haystack: a sentence gives a number to a name, the question asks for it.

After RULER's niah_single (Hsieh et al. 2024, arXiv 2404.06654), in our own words and with a stricter scorer.

    Text: ... The special number for brave otter is 4043756. ...
    Question: What is the special number for brave otter that the text states?
    Answer: The special number for brave otter is          target: 4043756

Known traps: a literal match between question and needle makes this the easiest of long-context
tasks, so it bounds a model from above; some numbers are read one digit short (a near miss), hence
other numbers in every trial and at every depth.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from longctx.errors import ConfigError
from longctx.haystack.lexicon import load_lexicon
from longctx.records import Item, Needle, Score
from longctx.scoring import NUMBER_STOP, score_number
from longctx.tasks.base import Measures, NeedleTask


@dataclass(frozen=True)
class NiahSingle(NeedleTask):
    """`digits`: length of the number."""

    name: ClassVar[str] = "niah_single"
    measures: ClassVar[Measures] = "retrieves"
    instruction: ClassVar[str] = "A special number is stated once in the text below. Read the text and remember it."
    stop: ClassVar[str] = NUMBER_STOP

    digits: int = 7

    def __post_init__(self) -> None:
        if not 1 <= self.digits <= 12:
            raise ConfigError(f"{self.name}: digits is {self.digits}; it must be 1 to 12.")
        if self.max_new_tokens <= self.digits:
            raise ConfigError(
                f"{self.name}: max_new_tokens is {self.max_new_tokens}; "
                f"{self.digits} digits need at least {self.digits + 1}."
            )

    def item(self, rng: random.Random, depth: float) -> Item:
        words = load_lexicon("keys")
        key = f"{rng.choice(words['first'])} {rng.choice(words['second'])}"
        number = str(rng.randrange(10 ** (self.digits - 1), 10**self.digits))
        fact = f"The special number for {key} is"
        return Item(
            needles=(Needle(f"{fact} {number}.", depth),),
            question=f"What is the special number for {key} that the text states?",
            answer_prefix=fact,
            targets=(number,),
        )

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        return score_number(answer, targets)
