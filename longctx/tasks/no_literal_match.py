"""A needle without literal match: question and needle share no word that carries meaning.

After NoLiMa (Modarressi et al. 2025, arXiv 2502.05167), with pairs of our own in `haystacks/no_literal_match.toml`.
The link is something that everybody knows; with `hops=2` there are two such links.

    Text: ... Zelda rode a cable car up Table Mountain. ...
    Question: Which character has been to Cape Town?  (two hops: Which character has been to South Africa?)
    Answer:                                           target: Zelda

Half of the needles have the inverted word order. `direct=1` is the control: it asks in the needle's own words.

Known traps: NoLiMa's `contains` is right as soon as the name occurs, so an answer that lists every name is right; it
is the score here, and ours beside it takes no other name. What a pair takes for known is known to large models and not
to small ones, so look at the controls without filler first. Filler may mention a fitting person. The narrator does not;
the fiction tells of midwives, twins and people who fence, though it gives none of our names. `distractors` come from
other themes; in a packed document the items are one another's distractors already, and more might answer another
item's question.
"""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from longctx.errors import ConfigError
from longctx.haystack.lexicon import lists_folder, load_lexicon
from longctx.records import Item, Needle, Score
from longctx.tasks.base import Measures, NeedleTask

_FUNCTION_WORDS = set(
    re.findall(
        r"\w+",
        "a about after all an and any are as at be been before by can could did do does for from had has have he her "
        "his how in into is it its may might must no not of off on one or our out over rather she should so some than "
        "that the their them there they this to under until up was were what when where which who whose will with "
        "without would you",
    )
)
# Said in every question, and of no use to find anything by.
_FRAME_WORDS = {"character"}


def _names() -> tuple[str, ...]:
    people = load_lexicon("characters")
    return tuple(people["women"] + people["men"])


_NAME = rf"\b(?:{'|'.join(_names())})\b"


@dataclass(frozen=True, slots=True)
class Pair:
    """A needle in two word orders, with `{name}`, and what can be asked about it."""

    theme: str
    needle: str
    inverted: str
    question: str
    two_hop: str = ""

    @property
    def direct(self) -> str:
        """The question in the needle's own words."""
        return self.needle.replace("{name}", "Which character").removesuffix(".") + "?"


@cache
def load_pairs() -> tuple[Pair, ...]:
    tables = tomllib.loads((lists_folder() / "no_literal_match.toml").read_text(encoding="utf-8"))
    return tuple(Pair(**table) for table in tables["pair"])


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def rouge1_precision(question: str, needle: str) -> float:
    """Share of the question's words, function words included, that stand in the needle as well."""
    asked, said = words(question), words(needle)
    return sum(min(asked.count(word), said.count(word)) for word in set(asked)) / len(asked)


def shared_content_words(question: str, needle: str) -> set[str]:
    """Word stems that both have, function words left out."""

    def stems(text: str) -> set[str]:
        return {_stem(word) for word in words(text) if word not in _FUNCTION_WORDS | _FRAME_WORDS}

    return stems(question) & stems(needle)


def _stem(word: str) -> str:
    """A word without common endings, so that walked, walking and walks are the same."""
    for ending in ("ings", "ing", "ed", "es", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


@dataclass(frozen=True)
class NoLiteralMatch(NeedleTask):
    """`hops`: 1 or 2; `direct`: 1 asks in the needle's words; `distractors`: other characters of other themes."""

    name: ClassVar[str] = "no_literal_match"
    measures: ClassVar[Measures] = "reasons"
    instruction: ClassVar[str] = (
        "Somewhere in the text below something is said about a character. Read the text; the question after it does "
        "not repeat its words. Answer with the character's name and nothing else."
    )
    # The line in which the first name stands is over.
    stop: ClassVar[str] = rf"{_NAME}[^\n]*\n"

    max_new_tokens: int = 32
    hops: int = 1
    direct: int = 0
    distractors: int = 0

    def __post_init__(self) -> None:
        for option, legal in (("hops", (1, 2)), ("direct", (0, 1)), ("distractors", tuple(range(6)))):
            value = getattr(self, option)
            if value not in legal:
                raise ConfigError(f"{self.name}: {option} is {value}; it must be one of {', '.join(map(str, legal))}.")
        if self.direct and self.hops == 2:
            raise ConfigError(f"{self.name}: direct is 1 and hops is 2; a direct question has one hop.")
        if self.max_new_tokens < 8:
            raise ConfigError(f"{self.name}: max_new_tokens is {self.max_new_tokens}; a name needs at least 8.")

    def item(self, rng: random.Random, depth: float) -> Item:
        pairs = load_pairs()
        pair = rng.choice([pair for pair in pairs if pair.two_hop] if self.hops == 2 else pairs)
        names = rng.sample(_names(), 1 + self.distractors)
        others = rng.sample([other for other in pairs if other.theme != pair.theme], self.distractors)
        needles = [Needle(_say(pair, names[0], rng), depth)]
        needles += [Needle(_say(*other, rng), rng.random()) for other in zip(others, names[1:], strict=True)]
        return Item(
            needles=tuple(needles),
            question=pair.direct if self.direct else pair.two_hop if self.hops == 2 else pair.question,
            answer_prefix="",
            targets=(names[0],),
            candidates=_names(),
            kind=pair.theme,
            hops=self.hops,
        )

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        """NoLiMa's rule: the name occurs. Strict: the first line with a name has that name and no other."""
        contained = any(target in answer for target in targets)
        named = next((found for line in answer.splitlines() if (found := re.findall(_NAME, line))), [])
        strict = bool(named) and set(named) <= set(targets)
        return Score(float(contained), near_miss=False, strict=float(strict))


def _say(pair: Pair, name: str, rng: random.Random) -> str:
    return rng.choice((pair.needle, pair.inverted)).replace("{name}", name)
