"""RULER's eight needle tasks: values are given to keys in filler, the question asks for some of them.

After RULER (Hsieh et al. 2024, arXiv 2404.06654): its parameters and its scoring rule, in our own words and with
a stricter score beside it.

    name             filler            key -> value      keys  values  asked
    niah_single_1    noise             word -> number       1       1      1
    niah_single_2    the sweep's own   word -> number       1       1      1
    niah_single_3    the sweep's own   word -> uuid         1       1      1
    niah_multikey_1  the sweep's own   word -> number       4       1      1
    niah_multikey_2  other needles     word -> number       1       1      1
    niah_multikey_3  other needles     uuid -> uuid         1       1      1
    niah_multivalue  the sweep's own   word -> number       1       4      1
    niah_multiquery  the sweep's own   word -> number       4       1      4

    Text: ... A special number for brave-canyon is 4043756. ...
    Question: What is the special number for brave-canyon that the text states?
    Answer: The special number for brave-canyon that the text states is          target: 4043756

The needle that is asked for stands at the cell's depth; the others, and of several that are asked for all but the
first, are at other ones of RULER's forty depths. Where RULER has essays, the filler is whatever the sweep names.

Known traps: question and needle match word for word, so these tasks bound a model from above. RULER's rule counts a
number inside a longer one, and an answer that lists every number of the text is right; the strict score counts
neither. In noise nothing but the needle is new, so it stands out. A model that thinks aloud or makes conversation
can use up the room for the answer.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from longctx.errors import ConfigError
from longctx.haystack.needles import code, number, statement, word_keys
from longctx.records import Item, Needle, Score
from longctx.scoring import NEVER_STOP, score_ruler_all
from longctx.tasks.base import Measures, NeedleTask
from longctx.tasks.draws import draw_different

DEPTHS = tuple(step / 39 for step in range(40))

_NUMBER = r"[0-9]{5,}(?![.,][0-9])"
_CODE = r"[0-9a-fA-F]+(?:-[0-9a-fA-F]+){2,}"


class Counts(NamedTuple):
    """How many keys there are, how many values each has, and how many keys are asked for."""

    keys: int = 1
    values: int = 1
    asked: int = 1


@dataclass(frozen=True)
class _Niah(NeedleTask):
    """What the eight have in common; each names its filler, its kinds of key and value, and its counts."""

    measures: ClassVar[Measures] = "retrieves"
    instruction: ClassVar[str] = (
        "The text below gives special numbers or codes to names. Read it with care and remember them: "
        "afterwards you will be asked for some."
    )
    stop: ClassVar[str] = NEVER_STOP
    key_kind: ClassVar[str] = "word"
    value_kind: ClassVar[str] = "number"

    max_new_tokens: int = 128

    def __post_init__(self) -> None:
        for option, value in vars(self).items():
            most = None if option == "max_new_tokens" else len(DEPTHS)
            if value < 1 or (most is not None and value > most):
                legal = "at least 1" if most is None else f"1 to {most}"
                raise ConfigError(f"{self.name}: {option} is {value}; it must be {legal}.")

    @abstractmethod
    def counts(self) -> Counts: ...

    def item(self, rng: random.Random, depth: float) -> Item:
        counts = self.counts()
        keys = word_keys(rng, counts.keys) if self.key_kind == "word" else [code(rng) for _ in range(counts.keys)]
        draw = number if self.value_kind == "number" else code
        pairs = [(key, value) for key in keys for value in draw_different(counts.values, lambda: draw(rng))]
        asked = keys[: counts.asked]
        targets = tuple(value for key, value in pairs if key in asked)
        depths = [depth, *_other_depths(rng, depth, len(pairs) - 1)]
        noun = self.value_kind
        several = len(targets) > 1
        subject = f"special {noun}{'s' if several else ''} for {_spoken(asked)} that the text states"
        verb = "are" if several else "is"
        return Item(
            needles=tuple(
                Needle(statement(noun, key, value), place) for (key, value), place in zip(pairs, depths, strict=True)
            ),
            question=f"What {verb} {'all ' if several else ''}the {subject}?",
            answer_prefix=f"The {subject} {verb}",
            targets=targets,
            support=tuple(range(len(targets))),
        )

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        return score_ruler_all(answer, targets, _NUMBER if self.value_kind == "number" else _CODE)


def _other_depths(rng: random.Random, depth: float, count: int) -> list[float]:
    """Different ones of the forty depths, none of them the one nearest to `depth`."""
    nearest = min(DEPTHS, key=lambda other: abs(other - depth))
    return rng.sample([other for other in DEPTHS if other != nearest], count)


def _spoken(names: Sequence[str]) -> str:
    """a; a and b; a, b and c"""
    return " and ".join([part for part in (", ".join(names[:-1]), names[-1]) if part])


@dataclass(frozen=True)
class NiahSingle1(_Niah):
    """One number in noise."""

    name: ClassVar[str] = "niah_single_1"
    filler: ClassVar[str] = "noise"

    def counts(self) -> Counts:
        return Counts()


@dataclass(frozen=True)
class NiahSingle2(_Niah):
    """One number in the sweep's haystack."""

    name: ClassVar[str] = "niah_single_2"

    def counts(self) -> Counts:
        return Counts()


@dataclass(frozen=True)
class NiahSingle3(_Niah):
    """One UUID in the sweep's haystack."""

    name: ClassVar[str] = "niah_single_3"
    value_kind: ClassVar[str] = "code"

    def counts(self) -> Counts:
        return Counts()


@dataclass(frozen=True)
class NiahMultikey1(_Niah):
    """`num_keys`: needles of the same form, only the first of which is asked for."""

    name: ClassVar[str] = "niah_multikey_1"
    num_keys: int = 4

    def counts(self) -> Counts:
        return Counts(keys=self.num_keys)


@dataclass(frozen=True)
class NiahMultikey2(_Niah):
    """One number among needles of the same form."""

    name: ClassVar[str] = "niah_multikey_2"
    filler: ClassVar[str] = "needles_words"

    def counts(self) -> Counts:
        return Counts()


@dataclass(frozen=True)
class NiahMultikey3(_Niah):
    """One UUID that belongs to another, among needles of the same form."""

    name: ClassVar[str] = "niah_multikey_3"
    filler: ClassVar[str] = "needles_uuids"
    key_kind: ClassVar[str] = "code"
    value_kind: ClassVar[str] = "code"

    def counts(self) -> Counts:
        return Counts()


@dataclass(frozen=True)
class NiahMultivalue(_Niah):
    """`num_values`: numbers that are given to one key, all of them asked for."""

    name: ClassVar[str] = "niah_multivalue"
    num_values: int = 4

    def counts(self) -> Counts:
        return Counts(values=self.num_values)


@dataclass(frozen=True)
class NiahMultiquery(_Niah):
    """`num_queries`: keys with a number each, all of them asked for."""

    name: ClassVar[str] = "niah_multiquery"
    num_queries: int = 4

    def counts(self) -> Counts:
        return Counts(keys=self.num_queries, asked=self.num_queries)
