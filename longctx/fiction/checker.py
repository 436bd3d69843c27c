"""Recomputes answers by another way: reads the question's words and replays events from the first to the last.

Nothing of how questions are made is used here, only the log, the plain names of events, and the
wordings. An event that calls someone by an alias counts for that person only once the replay has
come past the disguise, so an answer from the supporting events alone shows that they are enough.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from weakref import ref

from longctx.fiction.events import CLAIMS, NONE, Event, Kind
from longctx.fiction.log import Log
from longctx.fiction.naming import number_word
from longctx.fiction.questions import Question
from longctx.fiction.statements import CLAUSES, clause
from longctx.fiction.wording import AND_ALSO, CHAIN, read

_GONE = "gone for good"


def check(log: Log, num_events: int, question: Question) -> str:
    """The answer by replaying the first `num_events` events; raises ValueError if it is not exactly one."""
    return _replayed(_Whole(log), num_events).answer(question.text)


def answerable_from(log: Log, question: Question) -> str:
    """The answer by replaying only the supporting events; raises ValueError if it is not exactly one."""
    return _Replay(log, question.support).answer(question.text)


class _Whole:
    """A log as a key of the cache below, by identity and without keeping it alive."""

    def __init__(self, log: Log) -> None:
        self.log = ref(log)
        self._key = (id(log), len(log))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Whole) and self._key == other._key and self.log() is other.log()


@lru_cache(maxsize=2)
def _replayed(whole: _Whole, num_events: int) -> _Replay:
    log = whole.log()
    assert log is not None
    return _Replay(log, range(num_events))


class _Replay:
    """All that the events say, kept as plain histories by name."""

    def __init__(self, log: Log, ids: Iterable[int]) -> None:
        self._log = log
        self._places = {place.name for place in log.places}
        self._known_as: dict[str, str] = {}
        self._been: dict[str, list[str]] = defaultdict(list)
        self._owners: dict[str, list[str]] = defaultdict(list)
        self._is_at: dict[str, str] = {}
        """Thing to place or person."""
        self._was_at: dict[tuple[str, str], list[str]] = defaultdict(list)
        """Thing and taker to where it was taken."""
        self._handed: dict[str, list[tuple[Kind, str, str]]] = defaultdict(list)
        self._thinks: dict[tuple[str, str], str] = {}
        self._learned: dict[str, list[tuple[Kind, str, str]]] = defaultdict(list)
        """Topic to how, who, from whom."""
        self._promised: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._married: dict[str, list[str]] = defaultdict(list)
        self._numbers: dict[tuple[str, str], int] = {}
        self._order: dict[str, list[int]] = defaultdict(list)
        for one in ids:
            self._apply(one, log[one])

    def _who(self, person: int, alias: int) -> str:
        if person == NONE:
            return ""
        if alias == NONE:
            return self._log.people[person].name
        name = self._log.aliases[alias].name
        return self._known_as.get(name, name)

    def _apply(self, number: int, event: Event) -> None:
        log, kind = self._log, event.kind
        who, whom = self._who(event.who, event.who_alias), self._who(event.whom, event.whom_alias)
        place = "" if event.place == NONE else log.places[event.place].name
        if kind in CLAUSES:
            self._order[clause(log, event, who, whom)].append(number)
        if kind == Kind.DISGUISE:
            self._known_as[log.aliases[event.what].name] = who
        elif kind == Kind.LEAVE:
            self._been[who].append(_GONE)
        elif kind == Kind.MARRY:
            self._married[who].append(whom)
            self._married[whom].append(who)
        elif kind == Kind.PROMISE:
            self._promised[who, whom].append(log.promises[event.what].deed)
        elif kind == Kind.KEEP:
            self._promised[who, whom].remove(log.promises[event.what].deed)
        elif kind in (Kind.DISCOVER, Kind.TELL, Kind.OVERHEAR):
            learner, source = (whom, who) if kind == Kind.TELL else (who, whom)
            self._learned[log.secrets[event.what].topic].append((kind, learner, source))
        elif kind in (Kind.COUNT, Kind.REMOVE, Kind.ADD):
            self._count(kind, (log.stocks[event.what].goods, place), event.number)
        if event.thing != NONE:
            self._move_thing(kind, who, whom, log.things[event.thing].name, place)
        if place and kind not in CLAIMS:
            for person in filter(None, (who, whom)):
                if self._been[person][-1:] != [place]:
                    self._been[person].append(place)

    def _count(self, kind: Kind, stock: tuple[str, str], number: int) -> None:
        if kind == Kind.COUNT:
            self._numbers[stock] = number
        elif stock in self._numbers:
            self._numbers[stock] += number if kind == Kind.ADD else -number

    def _move_thing(self, kind: Kind, who: str, whom: str, thing: str, place: str) -> None:
        if kind == Kind.LIE:
            self._thinks[whom, thing] = place
        elif kind == Kind.LEARN:
            self._thinks[who, thing] = self._is_at[thing] = place
        elif kind in (Kind.PUT, Kind.HIDE, Kind.LOSE):
            self._owners[thing].append(who)
            self._is_at[thing] = place
            self._thinks[who, thing] = who if kind == Kind.LOSE else place
        elif kind in (Kind.TAKE, Kind.OBTAIN):
            if kind == Kind.TAKE:
                self._was_at[thing, who].append(place or self._is_at.get(thing, ""))
            self._owners[thing].append(who)
            self._is_at[thing] = self._thinks[who, thing] = who
        elif kind in (Kind.GIVE, Kind.LEND):
            self._handed[thing].append((kind, who, whom))
            self._owners[thing] += [who, whom]
            self._is_at[thing] = self._thinks[who, thing] = self._thinks[whom, thing] = whom

    # Reading and answering

    def answer(self, text: str) -> str:
        """The one answer to the question; raises ValueError if there is none or more than one."""
        form, slots = read(text)
        for slot in ("person", "other", "alias"):
            if slot in slots:
                name = slots[slot][0].lower() + slots[slot][1:] if slots[slot].startswith("The ") else slots[slot]
                slots[slot] = self._known_as.get(name, name)
        if slots.get("thing", "").startswith("The "):
            slots["thing"] = "t" + slots["thing"][1:]
        answers = list(dict.fromkeys(getattr(self, f"_answer_{form}")(**slots)))
        if len(answers) != 1:
            raise ValueError(f"{text!r} has {len(answers)} answers: {answers}")
        return str(answers[0])

    def _place(self, where: str) -> list[str]:
        """Where a thing is that is at this place or with this person."""
        while been := self._been.get(where):
            where = been[-1]
        return [where] if where in self._places else []

    def _answer_thing_now(self, thing: str) -> list[str]:
        return self._place(self._is_at.get(thing, ""))

    def _answer_person_now(self, person: str) -> list[str]:
        return self._place(person)

    def _answer_before_move(self, person: str, place: str) -> list[str]:
        been = self._been[person]
        return [been[number - 1] if number else "" for number, other in enumerate(been) if other == place]

    def _answer_before_take(self, thing: str, person: str) -> list[str]:
        return self._was_at[thing, person] if len(self._was_at[thing, person]) == 1 else []

    def _answer_had_before(self, thing: str, person: str) -> list[str]:
        owners = self._owners[thing]
        changes = [(old, new) for old, new in zip(["", *owners], owners, strict=False) if old != new]
        return [old for old, new in changes if new == person] if [new for _, new in changes].count(person) == 1 else []

    def _answer_giver(self, thing: str, person: str) -> list[str]:
        return [who for kind, who, whom in self._handed[thing] if kind == Kind.GIVE and whom == person]

    def _answer_given(self, thing: str, person: str) -> list[str]:
        return [whom for kind, who, whom in self._handed[thing] if kind == Kind.GIVE and who == person]

    def _answer_lender(self, thing: str, person: str) -> list[str]:
        return [who for kind, who, whom in self._handed[thing] if kind == Kind.LEND and whom == person]

    def _answer_lent(self, thing: str, person: str) -> list[str]:
        return [whom for kind, who, whom in self._handed[thing] if kind == Kind.LEND and who == person]

    def _answer_knower(self, topic: str, people: str) -> list[str]:
        knowers = {learner for _, learner, _ in self._learned[topic]}
        return [name for name in people.replace(" or ", ", ").split(", ") if name in knowers]

    def _answer_teller(self, topic: str, chain: str, person: str) -> list[str]:
        people = [person]
        for _ in range(1 + chain.count(CHAIN)):
            people = [
                source for kind, learner, source in self._learned[topic] if kind == Kind.TELL and learner in people
            ]
        return people

    def _answer_overheard(self, topic: str, person: str) -> list[str]:
        return [source for kind, learner, source in self._learned[topic] if kind == Kind.OVERHEAR and learner == person]

    def _answer_belief(self, person: str, thing: str) -> list[str]:
        thought = self._thinks.get((person, thing), "")
        truth = self._place(self._is_at.get(thing, ""))
        return [thought] if thought in self._places and truth and truth != [thought] else []

    def _answer_first(self, events: str) -> list[str]:
        listed = events.split(AND_ALSO)
        if any(len(self._order[one]) != 1 for one in listed):
            return []
        return [min(listed, key=lambda one: self._order[one][0])]

    def _answer_stock(self, goods: str, place: str) -> list[str]:
        return [number_word(self._numbers[goods, place])] if (goods, place) in self._numbers else []

    def _answer_alias(self, alias: str) -> list[str]:
        return [alias] if alias in self._known_as.values() else []

    def _answer_spouse(self, person: str) -> list[str]:
        return self._married[person]

    def _answer_promise(self, person: str, other: str) -> list[str]:
        return self._promised[person, other]
