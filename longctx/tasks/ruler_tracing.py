"""RULER's variable tracking: one variable gets a number, others get it from one another; which hold it?

After RULER's vt (Hsieh et al. 2024, arXiv 2404.06654), one chain of four hops in noise, in our own words, with its
scoring rule and a stricter score beside it. An example with shorter names stands before the text, as there.

    Text: ... VAR QWXEB = 52718. ... VAR HKZTU = VAR QWXEB. ... VAR MPLDA = VAR HKZTU. ...
    Question: Which variables hold the value 52718, directly or through other variables?
    Answer: The 5 variables that hold the value 52718 are          targets: QWXEB, HKZTU, MPLDA, ...

The first statement stands at the cell's depth and the others behind it in order, so a chain that starts at the end of
the text is all there: at depth 1.0 this is an easier task than at 0.0.

Known traps: there is one chain only, so to list every variable of the text is right by both rules; the answer
prefix says how many there are. The strict score reads capitals, which RULER's does not mind. Thirty tokens are
just enough for five names: a model that repeats the statements is cut off.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from typing import ClassVar

from longctx.errors import ConfigError
from longctx.haystack.noise import PASSAGE
from longctx.records import Item, Needle, Score
from longctx.scoring import NEVER_STOP, score_ruler_all
from longctx.tasks.base import Measures, NeedleTask
from longctx.tasks.draws import depths_around, draw_different

_LETTERS = 5
_MAX_HOPS = 20
# Near the length of a name, so that the word VAR and the names of the example are none.
_VARIABLE = r"[A-Z]{4,6}"
_EXAMPLE_NAMES = ("KUD", "FEZ", "WOB", "JIP", "TAQ")
_EXAMPLE_NUMBER = "60417"


def statements(names: list[str], value: str) -> list[str]:
    """The first of `names` gets the value, and each of the others that of the one before."""
    sources = [value, *(f"VAR {name}" for name in names)]
    return [f"VAR {name} = {source}." for name, source in zip(names, sources, strict=False)]


def _question(value: str) -> str:
    return f"Which variables hold the value {value}, directly or through other variables?"


def _answer_prefix(count: int, value: str) -> str:
    return f"The {count} variables that hold the value {value} are"


def _example() -> str:
    """A short text with its question and answer."""
    chain = statements(list(_EXAMPLE_NAMES), _EXAMPLE_NUMBER)
    text = " ".join(f"{said} {' '.join(PASSAGE)}" for said in chain)
    answer = f"{_answer_prefix(len(chain), _EXAMPLE_NUMBER)} {', '.join(_EXAMPLE_NAMES)}."
    return f"Text: {text}\n\nQuestion: {_question(_EXAMPLE_NUMBER)}\nAnswer: {answer}"


@dataclass(frozen=True)
class VariableTracking(NeedleTask):
    """`num_hops`: variables that get the number from another one."""

    name: ClassVar[str] = "vt"
    measures: ClassVar[Measures] = "reasons"
    filler: ClassVar[str] = "noise"
    instruction: ClassVar[str] = (
        "In the text below, statements give values to variables. Follow them and remember what each holds.\n\n"
        f"Example.\n{_example()}\n\nNow the text that you will be asked about."
    )
    stop: ClassVar[str] = NEVER_STOP

    max_new_tokens: int = 30
    num_hops: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.num_hops <= _MAX_HOPS:
            raise ConfigError(f"{self.name}: num_hops is {self.num_hops}; it must be 1 to {_MAX_HOPS}.")
        if self.max_new_tokens < 1:
            raise ConfigError(f"{self.name}: max_new_tokens is {self.max_new_tokens}; it must be at least 1.")

    def item(self, rng: random.Random, depth: float) -> Item:
        names = draw_different(self.num_hops + 1, lambda: "".join(rng.choices(string.ascii_uppercase, k=_LETTERS)))
        value = _EXAMPLE_NUMBER
        while value == _EXAMPLE_NUMBER:
            value = str(rng.randrange(10_000, 100_000))
        depths = depths_around(rng, depth, 0, self.num_hops)
        return Item(
            needles=tuple(map(Needle, statements(names, value), depths)),
            question=_question(value),
            answer_prefix=_answer_prefix(len(names), value),
            targets=tuple(names),
            support=tuple(range(len(names))),
            hops=len(names),
        )

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        return score_ruler_all(answer, targets, _VARIABLE)
