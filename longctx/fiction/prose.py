"""Turns events into prose and fills the time between them: weather, talk, reflection."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Mapping

from longctx.fiction.events import NONE, Event, Kind
from longctx.fiction.grammar import Grammar, Value
from longctx.fiction.log import Log
from longctx.fiction.naming import Coiner, ordinal_words
from longctx.fiction.statements import slots
from longctx.haystack.lexicon import load_lexicon

GRAMMAR_FILES = (
    "fiction_words",
    "fiction_compounds",
    "fiction_nature",
    "fiction_people",
    "fiction_records",
    "fiction_thoughts",
    "fiction_events",
)
_EVENT_VARIABLES = "who whom thing place at number goods topic secret deed done alias garment content trade at_there"
_PEOPLE_VARIABLES = "he his him himself whom_he whom_his whom_him whom_himself who_possessive one other"
_OWN_VARIABLES = "town surname forename sky hour"
VARIABLES = frozenset(f"{_EVENT_VARIABLES} {_PEOPLE_VARIABLES} {_OWN_VARIABLES}".split())
_PRONOUNS = {
    "f": {"he": "she", "his": "her", "him": "her", "himself": "herself"},
    "m": {"he": "he", "his": "his", "him": "him", "himself": "himself"},
}
_SECRET = ("the secret of {}", "the {} secret", "the secret about {}", "the {} secret", "the secret of {}")
_MOODS = ("cold", "wet", "warm", "windy")
_HOURS = ("day", "day", "night")
_DOUBLED = re.compile(r"\b(\w+) \1\b")
"""Choices that fell the same way side by side: a cold cold morning."""
_MEMORY_BITS = 27
_NUM_TRIES = 12


class _Told:
    """Which sentences have been told, in 16 MB however long the story: one bit for each hash.

    A sentence may be taken for an old one by chance; then another is made, which does no harm.
    """

    def __init__(self) -> None:
        self._bits = bytearray(1 << (_MEMORY_BITS - 3))
        self._num_set = 0

    def add(self, text: str) -> bool:
        """Whether any sentence of the text was told before; if none was, they are from now on."""
        hashes = [zlib.crc32(part.encode()) >> (32 - _MEMORY_BITS) for part in text.split(". ") if len(part) > 12]
        bits = self._bits
        if any(bits[one >> 3] & (1 << (one & 7)) for one in hashes):
            return True
        for one in hashes:
            bits[one >> 3] |= 1 << (one & 7)
        self._num_set += len(hashes)
        if self._num_set > 1 << (_MEMORY_BITS - 1):  # half full, after some 60M sentences
            self._bits, self._num_set = bytearray(len(bits)), 0
        return False


class Narrator:
    """The voice of one story."""

    def __init__(self, log: Log, coiner: Coiner, rng: random.Random) -> None:
        rules: dict[str, list[str]] = {}
        for name in GRAMMAR_FILES:
            rules |= load_lexicon(name)
        self._log = log
        self._random = rng.random
        self._grammar = Grammar(rules, VARIABLES, rng)
        self._told = _Told()
        self._own: dict[str, Value] = {"town": coiner.town, "surname": coiner.surname, "forename": coiner.forename}
        self._num_chapters = 0
        self.set_scene()

    def set_scene(self) -> None:
        """Other weather, another time of day."""
        mood = _MOODS[int(self._random() * len(_MOODS))]
        hour = _HOURS[int(self._random() * len(_HOURS))]
        grammar, own = self._grammar, self._own
        own["sky"] = lambda: grammar.unfold(f"sky_{mood}_{hour}", own)
        own["hour"] = lambda: grammar.unfold(f"hour_{hour}", own)

    def phrase(self, rule: str) -> str:
        """A phrase that others build with; it may come again."""
        return self._grammar.text(rule, self._own)

    def chapter(self) -> str:
        """The heading of the next chapter."""
        self._num_chapters += 1
        return f"Chapter {ordinal_words(self._num_chapters)}: {self._fresh('chapter', self._own)}"

    def neutral(self, rule: str) -> str:
        """A passage about nobody in the story: rule is weather, thought or anecdote."""
        return self._fresh(rule, self._own)

    def colour(self, people: list[int]) -> str:
        """A passage with one or two people in it that says nothing about the world."""
        one, *others = people
        person = self._log.people[one]
        variables = {**self._own, **_PRONOUNS[person.gender], "one": person.name}
        if not others:
            return self._fresh("colour_one", variables)
        variables["other"] = self._log.people[others[0]].name
        return self._fresh("colour_two", variables)

    def event(self, event: Event) -> str:
        """A passage that states the event, with the names of all that it involves."""
        log, kind = self._log, event.kind
        person = log.people[event.who]
        variables: dict[str, Value] = {**self._own, **_PRONOUNS[person.gender], **slots(log, event)}
        if event.whom != NONE:
            pronouns = _PRONOUNS[log.people[event.whom].gender]
            variables |= {f"whom_{name}": pronoun for name, pronoun in pronouns.items()}
        variables["at_there"] = variables["at"] or " close by"
        if event.who_alias == NONE and kind != Kind.ARRIVE and self._random() < 0.15:
            variables["who"] = f"{person.name} the {person.trade}"
        variables["who_possessive"] = f"{variables['who']}'s"
        if "topic" in variables:
            form = _SECRET[int(self._random() * len(_SECRET))]
            variables["secret"] = form.format(variables["topic"])
        return self._fresh(f"e_{kind.name.lower()}", variables)

    def _fresh(self, rule: str, variables: Mapping[str, Value]) -> str:
        """A passage by the rule that has not been told before and doubles no word."""
        text = ""
        for _ in range(_NUM_TRIES):
            text = self._grammar.text(rule, variables)
            text = text[0].upper() + text[1:] if text[0] != '"' else text
            if not _DOUBLED.search(text) and not self._told.add(text):
                break
        return text
