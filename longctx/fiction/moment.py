"""The story as far as one event, for those who make questions about it: every look-up goes through the index."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import NamedTuple

from longctx.fiction.events import NONE, TO_PLACE, TO_WHO, Event, Kind
from longctx.fiction.index import Index, index_of
from longctx.fiction.log import Log


class Located(NamedTuple):
    """A place, and the events that together say so."""

    place: int
    support: set[int]


class Moment:
    """What has happened before the event `end`."""

    def __init__(self, log: Log, end: int) -> None:
        self.log = log
        self.end = min(end, len(log))
        self.index: Index = index_of(log)

    def whereabouts(self, thing: int) -> list[int]:
        return self.index.whereabouts.before(thing, self.end)

    def stands(self, person: int) -> list[int]:
        return self.index.stands.before(person, self.end)

    def events(self, ids: Iterable[int]) -> list[Event]:
        return [self.log[one] for one in ids]

    def aliases_in(self, event_id: int, *people: int) -> set[int]:
        """Events that one must know to see that this event is about these people."""
        event = self.log[event_id]
        used = [(event.who, event.who_alias), (event.whom, event.whom_alias)]
        return {self.log.aliases[alias].first for person, alias in used if alias != NONE and person in people}

    def with_aliases(self, ids: Iterable[int]) -> set[int]:
        """These events, and those that one must know to see whom they are about."""
        support = set(ids)
        for one in tuple(support):
            support |= self.aliases_in(one, self.log[one].who, self.log[one].whom)
        return support

    def distractors(self, support: set[int]) -> set[int]:
        """All other events so far with a person or a thing of the supporting ones in them."""
        events = self.events(support)
        people = {one for event in events for one in (event.who, event.whom)}
        about = [self.index.names.before(person, self.end) for person in people]
        about += [self.index.of_thing.before(thing, self.end) for thing in {event.thing for event in events}]
        return set().union(*about) - support

    def person_at(self, person: int) -> Located | None:
        """Where a person is; None after a parting for good."""
        ids = self.stands(person)
        if not ids or self.log[ids[-1]].kind == Kind.LEAVE:
            return None
        return Located(self.log[ids[-1]].place, {ids[-1], *self.aliases_in(ids[-1], person)})

    def thing_at(self, thing: int) -> Located | None:
        """Where a thing is, by itself or in somebody's hands; None when it has been taken out of reach."""
        last = self.whereabouts(thing)[-1]
        event = self.log[last]
        if event.kind in TO_PLACE or event.kind == Kind.LEARN:
            return Located(event.place, {last})
        holder = event.who if event.kind in TO_WHO else event.whom
        where = self.person_at(holder)
        if where is None:
            return None
        return Located(where.place, where.support | {last} | self.aliases_in(last, holder))

    def mention(self, person: int, rng: random.Random, support: set[int]) -> tuple[str, set[int]]:
        """What a question calls a person, and the support with what must be known for that.

        A name, or now and then an alias that none of the supporting events uses: one that they
        use could be understood without knowing whose it is.
        """
        disguises = [one for one in self.index.disguises.before(person, self.end) if one not in support]
        if disguises and rng.random() < 0.3:
            chosen = rng.choice(disguises)
            return self.log.aliases[self.log[chosen].what].name, support | {chosen}
        return self.log.people[person].name, support

    def people_like(self, person: int, rng: random.Random, number: int, without: Iterable[int] = ()) -> list[int]:
        """Others from the same part of the story, who have come into it by now."""
        near = range(max(0, person - 12), min(len(self.log.people), person + 13))
        barred = {person, *without}
        known = [one for one in near if one not in barred and self.index.names.before(one, self.end)]
        return rng.sample(known, k=min(number, len(known)))

    def places_like(self, place: int, rng: random.Random, number: int) -> list[int]:
        """Others from the same part of the story, at which someone has been by now."""
        near = range(max(0, place - 10), min(len(self.log.places), place + 11))
        known = [one for one in near if one != place and self.log.places[one].first < self.end]
        return rng.sample(known, k=min(number, len(known)))
