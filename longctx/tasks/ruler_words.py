"""RULER's two counting tasks: which entries of a list are the commonest?

After RULER's cwe and fwe (Hsieh et al. 2024, arXiv 2404.06654), with its frequencies and its scoring rule, our own
words, and a stricter score beside it.

cwe, common words: a numbered list in random order, where ten words occur 30 times each and all others 3 times;
in lists of under 500 entries (RULER: contexts of under 4,096 tokens) 6 times and once.

    Text: 1. vivid-kettle 2. stoic-larch 3. vivid-kettle ...
    Question: Which ten words occur most often in the list?
    Answer: The ten words that occur most often are          targets: vivid-kettle, ...

An example of 40 words (10 and 3 times) stands before the text. RULER's words are single ones; here they are
two joined by a hyphen, at every length: so there are enough for 5M entries, and long lists are of the same kind as
short ones. Scores are therefore near RULER's, not the same.

fwe, frequent words: made-up words of six letters, of which that of rank k occurs floor(n / (k**2 zeta(2))) times in
n entries. Rank 1 is shown as dots, as is what rounding down leaves over; ranks 2 to 4 are asked for.

    Text: ... qkzvta ... ... mmxohe qkzvta ... bwyrsd ...
    Question: Leave out the dots. Which three coded words occur most often in the text?
    Answer: The three coded words that occur most often are          targets: qkzvta, mmxohe, bwyrsd

RULER ends its vocabulary at one word per 50 tokens; from 100 entries on that is more than the ranks that occur at all.

Nothing here stands at one place, so the depth of a cell means nothing: all depths of a length are repeats.

Known traps: cwe's answer needs most of its room of 120 tokens, so a model that starts with a preface is cut off.
RULER's rule gives full marks for copying the whole list, if the room allows; the strict score gives none. An
English word of six letters beside fwe's answer counts as a wrong candidate in the strict score.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from longctx.errors import ConfigError
from longctx.haystack.lexicon import load_lexicon
from longctx.records import Listing, Score
from longctx.scoring import NEVER_STOP, score_ruler_all
from longctx.tasks.base import ListTask, Measures

_NUM_COMMON = 10
_FEW_ENTRIES = 500
_ZETA_2 = 1.6449340668482264
_WORD_LETTERS = 6

_CWE_QUESTION = "Which ten words occur most often in the list?"
_CWE_ANSWER = "The ten words that occur most often are"

_WORD = r"[A-Za-z]+-[A-Za-z]+"
_CODED_WORD = r"[A-Za-z]{6}"


def _example() -> str:
    """A short list with its answer, always the same."""
    rng = random.Random("cwe example")
    words = _words(rng, 40)
    entries = _repeat(words[:_NUM_COMMON], 10) + _repeat(words[_NUM_COMMON:], 3)
    rng.shuffle(entries)
    text, answer = "".join(_numbered(entries)), ", ".join(words[:_NUM_COMMON])
    return f"Text:{text}\n\nQuestion: {_CWE_QUESTION}\nAnswer: {_CWE_ANSWER} {answer}."


def _words(rng: random.Random, count: int) -> list[str]:
    """Different words of two parts."""
    lexicon = load_lexicon("ruler_words")
    parts = lexicon["adjectives"] + lexicon["nouns"]
    return [f"{parts[i // len(parts)]}-{parts[i % len(parts)]}" for i in rng.sample(range(len(parts) ** 2), count)]


def _repeat(words: Sequence[str], times: int) -> list[str]:
    return [word for word in words for _ in range(times)]


def _numbered(words: Sequence[str]) -> list[str]:
    return [f" {number}. {word}" for number, word in enumerate(words, 1)]


@dataclass(frozen=True)
class CommonWords(ListTask):
    """No options of its own."""

    name: ClassVar[str] = "cwe"
    measures: ClassVar[Measures] = "reasons"
    instruction: ClassVar[str] = (
        "The text below is a numbered list in which some words come again and again. Keep count of them.\n\n"
        f"Example.\n{_example()}\n\nNow the list that you will be asked about."
    )
    stop: ClassVar[str] = NEVER_STOP
    min_entries: ClassVar[int] = 2 * _NUM_COMMON * 6

    max_new_tokens: int = 120

    def __post_init__(self) -> None:
        _check_room(self)

    def listing(self, rng: random.Random, depth: float, num_entries: int) -> Listing:
        common_times, other_times = (6, 1) if num_entries < _FEW_ENTRIES else (30, 3)
        num_others, rest = divmod(num_entries - _NUM_COMMON * common_times, other_times)
        words = _words(rng, _NUM_COMMON + num_others + 1)
        common, others, last = words[:_NUM_COMMON], words[_NUM_COMMON:-1], words[-1:]
        entries = _repeat(common, common_times) + _repeat(others, other_times) + _repeat(last, rest)
        rng.shuffle(entries)
        return Listing(
            entries=tuple(_numbered(entries)),
            support=_places(entries, common),
            question=_CWE_QUESTION,
            answer_prefix=_CWE_ANSWER,
            targets=tuple(common),
        )

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        return score_ruler_all(answer, targets, _WORD)


@dataclass(frozen=True)
class FrequentWords(ListTask):
    """No options of its own."""

    name: ClassVar[str] = "fwe"
    measures: ClassVar[Measures] = "reasons"
    instruction: ClassVar[str] = "The text below consists of coded words and dots. Keep count of each coded word."
    stop: ClassVar[str] = NEVER_STOP
    # With fewer, two of the first five ranks can be equally frequent.
    min_entries: ClassVar[int] = 100

    max_new_tokens: int = 50

    def __post_init__(self) -> None:
        _check_room(self)

    def listing(self, rng: random.Random, depth: float, num_entries: int) -> Listing:
        entries: list[str] = []
        ranked: list[str] = []
        while times := int(num_entries / ((len(ranked) + 2) ** 2 * _ZETA_2)):
            word = "".join(rng.choices(string.ascii_lowercase, k=_WORD_LETTERS))
            if word not in ranked:
                ranked.append(word)
                entries += [word] * times
        entries += ["..."] * (num_entries - len(entries))
        rng.shuffle(entries)
        return Listing(
            entries=tuple(f" {entry}" for entry in entries),
            support=_places(entries, ranked[:3]),
            question="Leave out the dots. Which three coded words occur most often in the text?",
            answer_prefix="The three coded words that occur most often are",
            targets=tuple(ranked[:3]),
        )

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        return score_ruler_all(answer, targets, _CODED_WORD)


def _places(entries: Sequence[str], words: Sequence[str]) -> tuple[int, ...]:
    wanted = set(words)
    return tuple(index for index, entry in enumerate(entries) if entry in wanted)


def _check_room(task: ListTask) -> None:
    if task.max_new_tokens < 1:
        raise ConfigError(f"{task.name}: max_new_tokens is {task.max_new_tokens}; it must be at least 1.")
