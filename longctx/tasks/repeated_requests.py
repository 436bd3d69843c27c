"""The same request several times in a long chat: which of the replies was the third?

After OpenAI's MRCR (2025, from Vodrahalli et al. 2024, arXiv 2409.12640), with a chat of our own making.

    Text: ... User: Write a riddle about tapirs. Assistant: What do tapirs hide from view? ...
          ... User: Write a riddle about tapirs. Assistant: Say what tapirs have in common. ...
    Question: Start with wT3kVq9ZbA and go on, without a blank, with the text of your riddle number 2 about tapirs ...
    Answer:                            target: wT3kVq9ZbASay what tapirs have in common. ...

`repeats` identical requests hide among requests for the same form about other topics and for other forms about the same
topic. The one asked for stands at the cell's depth, some of the others before it and the rest after it, so
at depth 0 those before it stand in a row at the start.

Known traps: difflib's ratio is above 0.2 for two pieces that have nothing in common but English, so a score of
0.3 is no partial success; above 200 characters it leaves common letters out of account, as in MRCR (order of
the arguments included). MRCR gives 0 without the prefix, even to an answer that has a quotation mark in front of it;
blanks and line breaks around an answer, which count there, do not count here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import ClassVar

from longctx.errors import ConfigError
from longctx.haystack.requests import Request, all_requests, write
from longctx.records import Item, Needle, Score
from longctx.scoring import is_slip
from longctx.tasks.base import Measures, NeedleTask
from longctx.tasks.draws import depths_around, draw_different

_PREFIX_LENGTH = 10
_PREFIX_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"  # without look-alikes


@dataclass(frozen=True)
class RepeatedRequests(NeedleTask):
    """`repeats`: how many times the same is asked for: 2, 4 or 8."""

    name: ClassVar[str] = "repeated_requests"
    measures: ClassVar[Measures] = "reasons"
    filler: ClassVar[str] = "requests"
    instruction: ClassVar[str] = (
        "The text below is a chat in which a user asks you for short pieces of writing, sometimes for the same several "
        "times. Remember which reply came first, second and so on: you will be asked to repeat one of them word for "
        "word."
    )
    stop: ClassVar[str] = r"\S[^\S\n]*\n"

    max_new_tokens: int = 192
    repeats: int = 2

    def __post_init__(self) -> None:
        if self.repeats not in (2, 4, 8):
            raise ConfigError(f"{self.name}: repeats is {self.repeats}; it must be one of 2, 4, 8.")
        if self.max_new_tokens < 128:
            raise ConfigError(f"{self.name}: max_new_tokens is {self.max_new_tokens}; a piece needs at least 128.")

    def item(self, rng: random.Random, depth: float) -> Item:
        request = rng.choice(all_requests(reserved=True))
        # Ordinal and prefix follow from the request alone. A packed document never asks the same question twice,
        # so it never holds the same request for two items either.
        fixed = random.Random(f"{self.repeats}/{request.text}")
        number = fixed.randint(1, self.repeats)
        prefix = "".join(fixed.choices(_PREFIX_LETTERS, k=_PREFIX_LENGTH))
        depths = depths_around(rng, depth, number - 1, self.repeats - number)
        pieces = draw_different(self.repeats, lambda: write(request, rng))
        told = [(place, request.exchange(piece)) for place, piece in zip(depths, pieces, strict=True)]
        near = [(rng.random(), other.exchange(write(other, rng))) for other in _near_misses(request, rng)]
        needles = sorted([*told, *near], key=lambda needle: needle[0])
        places = [needles.index(exchange) for exchange in told]
        return Item(
            needles=tuple(Needle(text, place) for place, text in needles),
            question=(
                f"Start with {prefix} and go on, without a blank, with the text of your {request.form} number {number} "
                f"about {request.topic}, counted from 1. Write nothing else."
            ),
            answer_prefix="",
            targets=(prefix + pieces[number - 1],),
            support=(places[number - 1], *places[: number - 1]),
            kind=request.form,
            hops=number,
        )

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        """MRCR's rule: 0 without the prefix, else how alike the rest is. Strict: the very text."""
        (target,) = targets
        said = answer.strip()
        prefix, piece = target[:_PREFIX_LENGTH], target[_PREFIX_LENGTH:]
        exact = said == target
        near = not exact and is_slip(said, target)
        if not said.startswith(prefix):
            return Score(0.0, near_miss=near, strict=0.0)
        ratio = SequenceMatcher(None, said.removeprefix(prefix), piece).ratio()
        return Score(ratio, near_miss=near, strict=float(exact))


def _near_misses(request: Request, rng: random.Random) -> list[Request]:
    """Two with the same form and two with the same topic, of those that the filler makes as well."""
    others = all_requests(reserved=False)
    same_form = [other for other in others if other.form == request.form]
    same_topic = [other for other in others if other.topic == request.topic]
    return rng.sample(same_form, 2) + rng.sample(same_topic, 2)
