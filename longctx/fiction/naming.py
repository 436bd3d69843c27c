"""Names for everyone and everything, invented so that they are short and never come twice in a story.

The kinds of names end in different syllables: a name in the story's own voice (a town in a
proverb, a dead captain) can never be that of someone or something a question asks about.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache, lru_cache

from longctx.fiction.events import Gender
from longctx.fiction.grammar import article
from longctx.haystack.lexicon import load_lexicon

_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip


def number_word(number: int) -> str:
    """0 to 99 in words; raises ValueError for others."""
    if not 0 <= number <= 99:
        raise ValueError(f"no word for {number}")
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens]}-{_ONES[ones]}" if ones else _TENS[tens]


def ordinal_words(number: int) -> str:
    """The number of a chapter in words: Twelve, Three Hundred and Five, Nine Thousand and Forty."""
    words: list[str] = []
    for unit, name in ((1_000_000, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= unit:
            words += [ordinal_words(number // unit), name]
            number %= unit
    if number or not words:
        words += ["and", number_word(number)] if words else [number_word(number)]
    return " ".join(word if word == "and" else word[0].upper() + word[1:] for word in words)


class _Pairs:
    """All pairs of two lists in a scattered order that needs no memory; ends after len(a) * len(b)."""

    def __init__(self, first: list[str], second: list[str], rng: random.Random) -> None:
        self._first, self._second = first, second
        self.size = len(first) * len(second)
        self._offset = rng.randrange(self.size)
        # A stride coprime to the size visits every pair once; near the golden ratio, neighbours differ.
        self._stride = int(self.size * 0.381966) + rng.randrange(97)
        while _gcd(self._stride, self.size) != 1:
            self._stride += 1

    def __getitem__(self, number: int) -> tuple[str, str]:
        place = (self._offset + number * self._stride) % self.size
        return self._first[place % len(self._first)], self._second[place // len(self._first)]


def _gcd(first: int, second: int) -> int:
    while second:
        first, second = second, first % second
    return first


@cache
def _never() -> re.Pattern[str]:
    return re.compile("|".join(load_lexicon("fiction_names")["never_in_names"]))


@lru_cache(maxsize=1 << 18)
def _is_clean(part: str) -> bool:
    """Whether part of a name holds nothing that no editor would let pass."""
    return not _never().search(part)


class Coiner:
    """Coins names for one story."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._random = rng.random
        self._words = load_lexicon("fiction_names")
        self._used: set[str] = set(self._words["far_forenames"])
        materials = [name.removeprefix("things_") for name in self._words if name.startswith("things_")]
        general = self._words["qualities"]
        self._things = [
            _Pairs(general + self._words[f"qualities_{kind}"], self._words[f"things_{kind}"], rng) for kind in materials
        ]
        self._num_things = [0] * len(self._things)
        self._garments = _Pairs(self._words["garment_qualities"], self._words["garments"], rng)
        self._num_garments = 0

    def _pick(self, kind: str) -> str:
        words = self._words[kind]
        return words[int(self._random() * len(words))]

    def _word(self, onsets: str, rime: Callable[[], str], endings: str) -> str:
        """An invented word; may come twice."""
        while True:
            onset, middle, ending = self._pick(onsets), rime(), self._pick(endings)
            if _is_clean(onset + middle) and _is_clean(middle + ending):
                return onset[0].upper() + onset[1:] + middle + ending

    def _far(self, endings: str) -> str:
        """A name outside the story: its endings are such that none of the story's names can be the same."""
        return self._word("far_onsets", lambda: self._pick("far_rimes"), endings)

    def _new_word(self, endings: str) -> str:
        """An invented word that has not been coined here before."""
        for attempt in range(10_000):
            word = self._word("onsets", lambda: self._pick("vowels") + self._pick("middles"), endings)
            if attempt > 50:  # short ones run out in very long stories
                word += self._pick("lengthenings")
            if word not in self._used:
                self._used.add(word)
                return word
        raise AssertionError("names ran out")

    def person(self, gender: Gender) -> str:
        return self._new_word("endings_women" if gender == "f" else "endings_men")

    def trade(self) -> str:
        return self._pick("trades")

    def place(self) -> str:
        return f"{self._new_word('endings_places')} {self._pick('places')}"

    def topic(self) -> str:
        return self._new_word("endings_topics")

    def town(self) -> str:
        """A place in the narrator's own voice; nothing happens there, and it may come again."""
        return self._far("endings_towns")

    def surname(self) -> str:
        """Someone in the narrator's own voice."""
        return self._far("endings_surnames")

    def forename(self) -> str:
        """Goes before the surname; never the name of a person of the story."""
        return self._pick("far_forenames")

    def thing(self) -> str:
        kind = int(self._random() * len(self._things))
        number = self._num_things[kind]
        self._num_things[kind] += 1
        quality, noun = self._things[kind][number]
        if number < self._things[kind].size:
            return f"the {quality} {noun}"
        return f"the {quality} {noun} of {self._new_word('endings_topics')}"

    def garment(self) -> str:
        """With its article: a grey coat."""
        number = self._num_garments
        self._num_garments += 1
        quality, noun = self._garments[number]
        if number < self._garments.size:
            return f"{article(quality)} {quality} {noun}"
        return f"{article(quality)} {quality} {noun} from {self._new_word('endings_topics')}"
