"""RULER's two question tasks: numbered documents, one or two of which hold the answer.

After RULER's qa_1 and qa_2 (Hsieh et al. 2024, arXiv 2404.06654), with its scoring rule and a stricter score beside
it. Theirs are made of SQuAD and HotpotQA; here every document is generated, about people and buildings that do not
exist. So no model has read the answers before, and scores are not comparable with published ones.

qa_1 asks for one fact of one document:

    Text: ... Document 7:
    Ottilie Varnfeld was an engraver from Ravenmouth. ... She was taught by Casimir Holmquist. ...
    Question: Who taught Ottilie Varnfeld?
    Answer:          target: Casimir Holmquist

qa_2 needs two documents, one that names a person and one about that person:

    Text: ... Document 3:
    The Crooked Lantern Bridge ... It was designed by Ottilie Varnfeld ...
    Question: Who taught the person who designed the Crooked Lantern Bridge?
    Answer:          target: Casimir Holmquist

The document about what the question names stands at the cell's depth, the second one of qa_2 anywhere. Up to eight of
the others are about people of the same surname, in place of RULER's other paragraphs of the same article. No other
document contains the answer or the name that leads to it.

Known traps: RULER's rule counts an answer that names the target in passing, even to deny it; the strict score
wants the target alone on the first line, so a whole sentence is right by the one and wrong by the other.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from longctx.errors import ConfigError
from longctx.haystack.lexicon import load_lexicon
from longctx.records import Listing, Score
from longctx.scoring import NEVER_STOP, score_ruler_any
from longctx.tasks.base import ListTask, Measures

_MAX_NAMESAKES = 8


@dataclass(frozen=True)
class _Person:
    name: str
    surname: str
    is_woman: bool
    born: int
    died: int
    birthplace: str
    deathplace: str
    teacher: str
    book: str


# What can be asked about a person: the field that holds the answer, and the question.
_QUESTIONS = {
    "birthplace": "In which town was {} born?",
    "deathplace": "In which town did {} die?",
    "teacher": "Who taught {}?",
    "book": "What is the title of the only book by {}?",
}


class _Author:
    """Makes up people and buildings and writes about them; every choice goes through one generator."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._words = load_lexicon("ruler_words")
        self._parts = load_lexicon("ruler_people")
        self._used: set[str] = set()

    def person(self, surname: str | None = None) -> _Person:
        is_woman = self._rng.random() < 0.5
        surname = surname or self._surname()
        birthplace, deathplace = self._two_towns()
        born = self._rng.randrange(1690, 1890)
        return _Person(
            name=self._new(lambda: f"{self._given(is_woman)} {surname}"),
            surname=surname,
            is_woman=is_woman,
            born=born,
            died=born + self._rng.randrange(45, 90),
            birthplace=birthplace,
            deathplace=deathplace,
            teacher=f"{self._given(self._rng.random() < 0.5)} {self._surname(other_than=surname)}",
            book=f"The {self._title()}",
        )

    def building(self) -> str:
        """The name of one, without its article."""
        return self._new(lambda: f"{self._title()} {self._part('buildings')}")

    def about_person(self, person: _Person) -> str:
        they, their = ("She", "Her") if person.is_woman else ("He", "His")
        trade = self._part("trades")
        article = "an" if trade[0] in "aeiou" else "a"
        facts = [
            self._one_of(
                f"{they} was taught by {person.teacher}, and they stayed friends.",
                f"{person.teacher} taught {'her' if person.is_woman else 'him'} the trade.",
                f"As a pupil of {person.teacher}, {they.lower()} learned to be patient.",
            ),
            self._one_of(
                f"{their} only book, {person.book}, sold {self._rng.randrange(40, 4000)} copies.",
                f"{they} wrote a single book, {person.book}, at the age of {self._rng.randrange(25, 40)}.",
            ),
            self._one_of(
                f"In {their.lower()} free time {they.lower()} {self._part('hobbies')}.",
                f"It is known that {they.lower()} {self._part('hobbies')}.",
            ),
            f"Late in life {they.lower()} received {self._part('honours')}.",
        ]
        self._rng.shuffle(facts)
        first = self._one_of(
            f"{person.name} was {article} {trade}, born in {person.birthplace} in {person.born}.",
            f"Born in {person.birthplace} in {person.born}, {person.name} became {article} {trade}.",
        )
        last = self._one_of(
            f"{they} died in {person.deathplace} in {person.died}.",
            f"{their} life ended in {person.deathplace}, where {they.lower()} died in {person.died}.",
        )
        return " ".join([first, *facts, last])

    def about_building(self, building: str, designer: _Person) -> str:
        year = self._rng.randrange(designer.born + 25, designer.died)
        fates = self._rng.sample(self._parts["fates"], 2)
        first = self._one_of(
            f"The {building} stands in {self._town()} and was opened in {year}.",
            f"Opened in {year}, the {building} is a landmark of {self._town()}.",
        )
        second = self._one_of(
            f"It was designed by {designer.name} and built of {self._part('materials')}.",
            f"Its designer was {designer.name}, who insisted on {self._part('materials')}.",
        )
        return " ".join([first, second, *fates])

    def _new(self, name: Callable[[], str]) -> str:
        """One that has no document yet."""
        found = name()
        while found in self._used:
            found = name()
        self._used.add(found)
        return found

    def _part(self, kind: str) -> str:
        return self._rng.choice(self._parts[kind])

    def _one_of(self, *choices: str) -> str:
        return self._rng.choice(choices)

    def _given(self, is_woman: bool) -> str:
        return self._part("women" if is_woman else "men")

    def _surname(self, other_than: str = "") -> str:
        surname = other_than
        while surname == other_than:
            surname = self._part("surname_starts") + self._part("surname_ends")
        return surname

    def _town(self) -> str:
        return self._part("town_starts") + self._part("town_ends")

    def _two_towns(self) -> tuple[str, str]:
        """Neither of them contained in the other."""
        first, second = self._town(), self._town()
        while first in second or second in first:
            second = self._town()
        return first, second

    def _title(self) -> str:
        return f"{self._rng.choice(self._words['adjectives'])} {self._rng.choice(self._words['nouns'])}".title()


@dataclass(frozen=True)
class _Questions(ListTask):
    """What both have in common: a person who is asked about, and documents about others."""

    instruction: ClassVar[str] = (
        "Answer the question from the documents below. Give the answer alone, without any other words."
    )
    stop: ClassVar[str] = NEVER_STOP

    max_new_tokens: int = 32

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"{self.name}: max_new_tokens is {self.max_new_tokens}; it must be at least 1.")

    def score(self, answer: str, targets: tuple[str, ...]) -> Score:
        return score_ruler_any(answer, targets)

    @abstractmethod
    def _gold(self, author: _Author, person: _Person) -> tuple[list[str], str, list[str]]:
        """The documents that are needed, the last of which is about the person; how the question refers to the person;
        names that no other document may contain.
        """

    @abstractmethod
    def _others(self, author: _Author, surname: str | None) -> list[str]:
        """Documents about someone else, of the given surname or any."""

    def listing(self, rng: random.Random, depth: float, num_entries: int) -> Listing:
        author = _Author(rng)
        kind = rng.choice(sorted(_QUESTIONS))
        person = author.person()
        target = str(getattr(person, kind))
        gold, reference, names = self._gold(author, person)
        while _mentions(gold[:-1], [target]):
            gold, reference, names = self._gold(author, person)
        others: list[str] = []
        while len(others) < num_entries - len(gold):
            namesake = person.surname if len(others) < _MAX_NAMESAKES else None
            more = self._others(author, namesake)
            if not _mentions(more, [target, *names]):
                others += more
        del others[num_entries - len(gold) :]
        rng.shuffle(others)
        places = self._places(rng, depth, num_entries)
        documents = _put(others, dict(zip(places, gold, strict=True)))
        return Listing(
            entries=tuple(f"\n\nDocument {number}:\n{text}" for number, text in enumerate(documents, 1)),
            support=places,
            question=f"{_QUESTIONS[kind].format(reference)} Give the answer alone.",
            answer_prefix="",
            targets=(target,),
            kind=kind,
            hops=len(gold),
        )

    def _places(self, rng: random.Random, depth: float, num_entries: int) -> tuple[int, ...]:
        """Where the needed documents go: the first at `depth`, another anywhere."""
        first = round(depth * (num_entries - 1))
        rest = [place for place in range(num_entries) if place != first]
        return (first, *rng.sample(rest, self.min_entries - 1))


def _mentions(texts: list[str], names: list[str]) -> bool:
    lowered = " ".join(texts).lower()
    return any(name.lower() in lowered for name in names)


def _put(others: list[str], gold: dict[int, str]) -> list[str]:
    """`others` in order, with the gold documents at their places."""
    waiting = iter(others)
    return [gold[place] if place in gold else next(waiting) for place in range(len(others) + len(gold))]


@dataclass(frozen=True)
class SingleQuestion(_Questions):
    """No options of its own."""

    name: ClassVar[str] = "qa_1"
    measures: ClassVar[Measures] = "retrieves"

    def _gold(self, author: _Author, person: _Person) -> tuple[list[str], str, list[str]]:
        return [author.about_person(person)], person.name, [person.name]

    def _others(self, author: _Author, surname: str | None) -> list[str]:
        return [author.about_person(author.person(surname))]


@dataclass(frozen=True)
class BridgeQuestion(_Questions):
    """No options of its own."""

    name: ClassVar[str] = "qa_2"
    measures: ClassVar[Measures] = "reasons"
    min_entries: ClassVar[int] = 2

    def _gold(self, author: _Author, person: _Person) -> tuple[list[str], str, list[str]]:
        building = author.building()
        documents = [author.about_building(building, person), author.about_person(person)]
        return documents, f"the person who designed the {building}", [building, person.name]

    def _others(self, author: _Author, surname: str | None) -> list[str]:
        person = author.person(surname)
        return [author.about_building(author.building(), person), author.about_person(person)]
