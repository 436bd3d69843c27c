"""Who and what plays a part in the story at the moment, and for how long."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from longctx.fiction.events import NONE, TO_PLACE, Event, Gender, Kind, Person, Place
from longctx.fiction.log import Log, add
from longctx.fiction.naming import Coiner
from longctx.fiction.world import World

_NUM_PEOPLE = 12
_NUM_PLACES = 9
_MAX_HELD = 4


@dataclass(slots=True)
class Scene:
    """Where a run of events takes place and who is there."""

    place: int
    people: list[int]
    events: Iterator[Event] = field(repr=False)


class Cast:
    """People, places, things, secrets and stocks, each with the event after which it should play no part.

    How long is heavy-tailed, so that some stay for a chapter and a few for the whole book.
    """

    def __init__(self, log: Log, coiner: Coiner, rng: random.Random, world: World) -> None:
        self.log = log
        self.coiner = coiner
        self.rng = rng
        self.world = world
        self.clock = 0
        """Number of events so far."""
        self.people: dict[int, float] = {}
        self.places: dict[int, float] = {}
        self.things: dict[int, float] = {}
        self.secrets: dict[int, float] = {}
        self.aliases: dict[int, float] = {}
        """By person."""
        self.stocks: dict[int, float] = {}
        self.stocked: set[tuple[int, str]] = set()
        """What has been counted at which place."""
        self.waiting: list[int] = []
        """People who have been named but have not arrived yet."""

    def one(self, items: list[int]) -> int:
        return items[int(self.rng.random() * len(items))]

    def lifetime(self, scale: float) -> float:
        return self.clock + scale * self.rng.paretovariate(1.25)

    def can_hold(self, person: int) -> bool:
        return len(self.world.held_by(person)) < _MAX_HELD

    def alias(self, person: int) -> int:
        """The alias that the next event calls this person by, or none."""
        alias = self.world.alias.get(person, NONE)
        if alias == NONE or self.clock > self.aliases[person] or self.rng.random() < 0.45:
            return NONE
        return alias

    def event(self, kind: Kind, who: int, whom: int = NONE, **fields: int) -> Event:
        """An event among people who may go by their aliases."""
        whom_alias = NONE if whom == NONE else self.alias(whom)
        return Event(kind, who, whom, who_alias=self.alias(who), whom_alias=whom_alias, **fields)

    def told(self, event: Event) -> Event:
        """The event, which is true of `world` from now on."""
        self.world.apply(event)
        self.clock += 1
        if event.kind in TO_PLACE and event.thing not in self.things:
            self.world.forget_thing(event.thing)
        return event

    def turn_over(self) -> None:
        """Old places, things and secrets go out of the story, new ones and new people come in."""
        world = self.world
        for place in self._outlived(self.places):
            self.stocked = {stocked for stocked in self.stocked if stocked[0] != place}
        while len(self.places) < _NUM_PLACES:
            self.places[add(self.log.places, Place(self.coiner.place(), len(self.log)))] = self.lifetime(70)
        while len(self.people) < _NUM_PEOPLE:
            self._new_person()
        for thing in self._outlived(self.things):
            # A thing in somebody's hands stays with that person; others are let go of.
            if thing in world.lies_at:
                world.forget_thing(thing)
        for secret in self._outlived(self.secrets):
            world.knowers.pop(secret, None)
        for stock in self._outlived(self.stocks):
            world.stock.pop(stock, None)
        for promise in list(world.open_promises)[:-20]:
            del world.open_promises[promise]

    def dismiss(self, person: int) -> None:
        """Takes someone out of the story who has left for good."""
        del self.people[person]
        self.aliases.pop(person, None)

    def _outlived(self, table: dict[int, float]) -> list[int]:
        """Takes those whose time has come out of the table, and returns them."""
        gone = [one for one, end in table.items() if end < self.clock]
        for one in gone:
            del table[one]
        return gone

    def _new_person(self) -> None:
        gender: Gender = "f" if self.rng.random() < 0.5 else "m"
        person = Person(self.coiner.person(gender), gender, self.coiner.trade(), len(self.log))
        self.people[number := add(self.log.people, person)] = self.lifetime(130)
        self.waiting.append(number)
