"""A plain narrator: village prose, one sentence at a time, never the same sentence twice.

It simulates nothing, so nothing can be asked about it: it is filler. What it says is drawn from
the lexicon in `haystacks/narrator.toml`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from longctx.haystack.lexicon import load_lexicon


class _Voice:
    """Draws words and phrases; every random choice goes through one generator."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._words = load_lexicon("narrator")

    def __call__(self, kind: str) -> str:
        return self._random.choice(self._words[kind])

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def one_of(self, *choices: str) -> str:
        return self._random.choice(choices)

    def two(self, kind: str) -> tuple[str, str]:
        """Two different ones."""
        first, second = self._random.sample(self._words[kind], 2)
        return first, second

    def shape(self) -> str:
        return self._random.choices(_SHAPES, weights=_WEIGHTS)[0](self)

    def two_people(self) -> tuple[str, str]:
        first, second = self.two("names")
        return self.person(first), self.person(second)

    def person(self, name: str | None = None) -> str:
        """Someone: Abel; Abel the miller; Abel's cousin; the old teacher of the miller."""
        name = name or self("names")
        kind = self._random.random()
        if kind < 0.55:
            return name
        if kind < 0.75:
            return f"{name} the {self('trades')}"
        if kind < 0.92:
            return f"{_possessive(name)} {self('kin')}"
        trade = self("trades")
        return f"the {self('kin')} of {self.one_of(_indefinite(trade), 'the')} {trade}"

    def thing(self, article: str | None = None) -> str:
        """a worn satchel; the satchel; her cousin's satchel."""
        noun = self("things")
        if self.chance(0.7):
            noun = f"{self('qualities')} {noun}"
        return f"{_indefinite(noun) if article is None else article} {noun}"

    def reason(self) -> str:
        """Why; half of them name somebody, so that the few fixed phrases do not wear out."""
        kind = self._random.random()
        if kind < 0.35:
            return self("reasons")
        if kind < 0.65:
            verb = self.one_of("asked for it", "advised against it", "laughed at the idea", "once done the same")
            return f"{self.one_of('because', 'although', 'now that')} {self.person()} had {verb}"
        if kind < 0.8:
            return f"{self.one_of('to please', 'to spite', 'for the sake of', 'on behalf of')} {self.person()}"
        return f"{self.one_of('thinking of', 'with a glance toward', 'far from')} {self('places')}"


def _possessive(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def _indefinite(noun: str) -> str:
    return "an" if noun[0] in "aeiou" and not noun.startswith("one") else "a"


def _went(voice: _Voice) -> str:
    return f"{voice.person()} {voice('movements')} {voice('places')}"


def _handled(voice: _Voice) -> str:
    return f"{voice.person()} {voice('handlings')} {voice.thing(voice.one_of('the', 'the', 'that'))}"


def _timed_walk(voice: _Voice) -> str:
    return f"{voice('times')} {_went(voice)}"


def _walk_for_a_reason(voice: _Voice) -> str:
    return f"{_went(voice)}, {voice.reason()}"


def _handling_in_a_place(voice: _Voice) -> str:
    return f"{voice('times')} {_handled(voice)} {voice.one_of('near', 'behind', 'in front of')} {voice('places')}"


def _two_deeds(voice: _Voice) -> str:
    return f"{_handled(voice)}, and {voice.one_of('meanwhile', 'afterwards', 'later')} {_went(voice)}"


def _while(voice: _Voice) -> str:
    return f"{voice.one_of('While', 'Just as', 'Long after')} {_went(voice)}, {_handled(voice)}"


def _speech(voice: _Voice) -> str:
    verb = voice.one_of("said", "remarked", "told anyone who would listen", "wrote to a friend", "was heard to say")
    manner = f" {voice('manners')}" if verb in ("said", "remarked") else ""
    first, second = voice.two("sayings")
    return f"{voice.person()} {verb}{manner} that {first}, and that {second}"


def _quotation(voice: _Voice) -> str:
    saying = voice("sayings")
    return f'"{saying[0].upper()}{saying[1:]}," said {voice.person()} {voice("manners")}, {voice("reasons")}'


def _weather(voice: _Voice) -> str:
    here, there = voice.two("skies")
    where = voice.one_of("beyond", "around", "over by")
    return f"{voice('times')} {here}, and {where} {voice('places')} {there}"


def _sky_then_deed(voice: _Voice) -> str:
    return f"{voice('skies')} when {_went(voice)} with {voice.thing()}"


def _stood_there(voice: _Voice) -> str:
    where = voice.one_of("Beside", "Near", "Behind", "Not far from", "Opposite")
    return (
        f"{where} {voice('places')} stood {voice.thing()} that {voice.person()} {voice('handlings')} {voice.reason()}"
    )


def _memory(voice: _Voice) -> str:
    verb = voice.one_of("remembered", "never forgot", "often spoke of", "dreamed about", "liked to recall")
    return f"{voice.person()} {verb} the day when {_handled(voice)}"


def _exchange(voice: _Voice) -> str:
    verb = voice.one_of("offered", "promised", "lent", "showed", "sent", "brought")
    giver, taker = voice.two_people()
    return f"{voice('times')} {giver} {verb} {taker} {voice.thing()} and {voice.thing()}"


def _belief(voice: _Voice) -> str:
    verb = voice.one_of("believed", "suspected", "had always known", "could not accept", "denied", "admitted")
    return f"{voice.person()} {verb} that {voice('sayings')} and that {_handled(voice)}"


_SHAPES: list[Callable[[_Voice], str]] = [
    _timed_walk,
    _walk_for_a_reason,
    _handling_in_a_place,
    _two_deeds,
    _while,
    _speech,
    _quotation,
    _weather,
    _sky_then_deed,
    _stood_there,
    _memory,
    _exchange,
    _belief,
]
_WEIGHTS = [2.0, 2.0, 2.0, 2.0, 1.5, 0.25, 0.25, 0.3, 1.0, 1.5, 1.2, 2.0, 0.5]


def narrate(seed: int) -> Iterator[str]:
    """Sentences for `seed`, without end; no two are the same."""
    voice = _Voice(seed)
    told: set[str] = set()
    while True:
        sentence = voice.shape()
        sentence = f"{sentence[0].upper()}{sentence[1:]}."
        if sentence not in told:
            told.add(sentence)
            yield sentence
