"""Who and what the stories of state_tracking are about, and how their facts are worded.

A story happens in one family, whose invented name is part of every person's and object's name in it. So nobody else in
the document, neither of the filler nor of another item, is mistaken for them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from longctx.haystack.lexicon import load_lexicon


@dataclass(frozen=True, slots=True)
class Story:
    facts: tuple[str, ...]
    """In the order in which they happen; a fact is a sentence, or two that belong together."""
    support: tuple[int, ...]
    """Facts that the answer needs, in order."""
    question: str
    answer_prefix: str
    target: str
    """A label, or several with commas."""
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Person:
    given: str
    family: str
    pronoun: str

    def __str__(self) -> str:
        return f"{self.given} {self.family}"


Told = list[tuple[str, bool]]
"""Facts in order, and whether the answer needs them."""


class Cast:
    """The people and things of one story, drawn from one generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        names = load_lexicon("characters")
        self.words = load_lexicon("state_tracking")
        self.family = "".join(rng.choice(names[f"family_{part}"]) for part in ("starts", "middles", "ends"))
        people = [Person(given, self.family, "she") for given in rng.sample(names["women"], 2)]
        people += [Person(given, self.family, "he") for given in rng.sample(names["men"], 2)]
        rng.shuffle(people)
        self.hero, *self.others = people

    def some(self, kind: str) -> str:
        return self.rng.choice(self.words[kind])

    def another(self, kind: str, *used: str) -> str:
        return self.rng.choice([word for word in self.words[kind] if word not in used])

    def other(self) -> Person:
        return self.rng.choice(self.others)

    def thing(self, label: str) -> str:
        return f"the {self.family} {label}"

    def move(self, who: object, room: str) -> str:
        return f"{who} {self.some('moves')} the {room}."

    def take(self, who: object, label: str) -> str:
        return f"{who} {self.some('takes')} {self.thing(label)}."

    def drop(self, who: object, label: str) -> str:
        return f"{who} {self.some('drops')} {self.thing(label)}."

    def path(self, num_rooms: int) -> list[str]:
        """Rooms of which no two in a row are the same."""
        rooms: list[str] = []
        while len(rooms) < num_rooms:
            rooms.append(self.another("rooms", *rooms[-1:]))
        return rooms

    def split(self, distractors: int) -> tuple[int, int]:
        """How many of the distractors are about the hero, and how many about others."""
        own = self.rng.randint(0, distractors)
        return own, distractors - own

    def other_moves(self, count: int) -> list[str]:
        return [self.move(self.other(), self.some("rooms")) for _ in range(count)]

    def told(self, main: Told, extras: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Both in one, at random and each in its order; and the places of what the answer needs."""
        size = len(main) + len(extras)
        main_places = set(self.rng.sample(range(size), len(main)))
        mains, rest = iter(main), iter(extras)
        facts = [next(mains) if place in main_places else (next(rest), False) for place in range(size)]
        return tuple(text for text, _ in facts), tuple(place for place, (_, needed) in enumerate(facts) if needed)
