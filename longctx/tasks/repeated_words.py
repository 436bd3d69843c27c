"""The same word over and over, with one odd word among its copies: copy all of it.

After the repeated-words task of Chroma's context-rot report (Hong et al. 2025), with words of our own.

    Text: apple apple apple apples apple apple ...
    Question: Copy the whole text above, word for word ...
    Answer:            target: apple apple apple apples apple apple ...

The odd word stands at the cell's depth. The copy is as long as the text, so half of the context is kept for it.

Known traps: it measures writing as much as reading, as long copies go wrong in small models at any depth, and it costs
a decode of half the context. The similarity hardly sees the odd word: without it a copy of 1,000 words still scores
0.999. The strict score does: it is 1.0 for the very text, with the odd word at its place and the right number of words.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from rapidfuzz.distance import Levenshtein

from longctx.errors import ConfigError
from longctx.haystack.lexicon import load_lexicon
from longctx.records import Listing, Score
from longctx.tasks.base import ListTask, Measures


@dataclass(frozen=True)
class RepeatedWords(ListTask):
    """`max_new_tokens`: room for a copy of the shortest list; in a cell half of the context is kept for it."""

    name: ClassVar[str] = "repeated_words"
    measures: ClassVar[Measures] = "retrieves"
    min_entries: ClassVar[int] = 8
    instruction: ClassVar[str] = (
        "The text below repeats a word many times; one word in it is a little different. You will be asked to copy it."
    )
    # A copy may be broken into lines; after an empty line there is something else.
    stop: ClassVar[str] = r"\S\s*\n\s*\n"

    max_new_tokens: int = 96

    def __post_init__(self) -> None:
        if self.max_new_tokens < 80:
            raise ConfigError(
                f"{self.name}: max_new_tokens is {self.max_new_tokens}; a copy of {self.min_entries} words needs "
                "at least 80."
            )

    def room(self, length: int) -> int:
        """Half of the context: the prompt is then the text and more, so its copy always has room."""
        return length // 2

    def listing(self, rng: random.Random, depth: float, num_entries: int) -> Listing:
        if num_entries < self.min_entries:
            raise ValueError(f"{num_entries} entries; at least {self.min_entries} are needed.")
        common, odd = rng.choice(load_lexicon("repeated_words")["pairs"]).split()
        place = round(depth * (num_entries - 1))
        words = [common] * num_entries
        words[place] = odd
        return Listing(
            entries=tuple(f" {word}" for word in words),
            support=(place,),
            question=(
                "Copy the whole text above, word for word, with every word as often and at the place where it stands. "
                "Write nothing else."
            ),
            answer_prefix="",
            targets=(" ".join(words),),
        )

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        """Similarity: 1 less the share of characters to change. Strict: the same words in the same order."""
        (target,) = targets
        said = " ".join(answer.split())
        exact = said == target
        distance = Levenshtein.distance(said, target)
        value = 1.0 - distance / max(len(said), len(target))
        return Score(value, near_miss=not exact and distance <= 2, strict=float(exact))
