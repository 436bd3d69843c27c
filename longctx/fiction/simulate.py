"""Chooses what happens next: scenes at a place among a few people, each a run of events."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from longctx.fiction.cast import Cast, Scene
from longctx.fiction.events import Event, Kind
from longctx.fiction.happenings import Happenings
from longctx.fiction.log import Log
from longctx.fiction.naming import Coiner
from longctx.fiction.world import World

__all__ = ["Scene", "Simulator"]

_MIN_PEOPLE = 4


class Simulator:
    """Endless scenes. An event is true of `world` as soon as it has been taken from `Scene.events`."""

    def __init__(
        self, log: Log, coiner: Coiner, phrase: Callable[[str], str], rng: random.Random, world: World | None = None
    ) -> None:
        """`phrase` unfolds rules of the grammar; see Happenings."""
        self.world = world or World()
        self._cast = Cast(log, coiner, rng, self.world)
        self._happenings = Happenings(self._cast, phrase)
        self._rng = rng

    def scenes(self) -> Iterator[Scene]:
        """Without end. Each scene's events must be taken before the next scene is."""
        while True:
            self._cast.turn_over()
            place = self._cast.one(list(self._cast.places))
            scene = Scene(place, self._gather(place), iter(()))
            scene.events = self._play(scene)
            yield scene

    def _gather(self, place: int) -> list[int]:
        """Who meets at the place: mostly those who are there, and always one or two who come."""
        people = self._cast.people
        here = [person for person in people if self.world.place_of.get(person) == place]
        self._rng.shuffle(here)
        there = [person for person in people if person not in here]
        self._rng.shuffle(there)
        return here[:3] + there[: self._rng.choice((1, 1, 2)) if len(here) > 1 else 2]

    def _play(self, scene: Scene) -> Iterator[Event]:
        cast = self._cast
        for person in scene.people:
            if person in cast.waiting:
                cast.waiting.remove(person)
                yield cast.told(Event(Kind.ARRIVE, person, place=scene.place))
            elif self.world.place_of[person] != scene.place:
                yield cast.told(cast.event(Kind.MOVE, person, place=scene.place))
        for _ in range(self._rng.randint(4, 10)):
            event = self._happenings.make(scene)
            if event is not None:
                yield cast.told(event)
        yield from self._part(scene)

    def _part(self, scene: Scene) -> Iterator[Event]:
        """Those whose time has come leave for good, after they have left what they had."""
        cast = self._cast
        for person in list(scene.people):
            if cast.clock > cast.people[person] and len(cast.people) > _MIN_PEOPLE:
                for thing in self.world.held_by(person):
                    others = [other for other in scene.people if other != person and cast.can_hold(other)]
                    if others and self._rng.random() < 0.6:
                        yield cast.told(cast.event(Kind.GIVE, person, cast.one(others), thing=thing))
                    else:
                        yield cast.told(cast.event(Kind.PUT, person, thing=thing, place=scene.place))
                yield cast.told(cast.event(Kind.LEAVE, person))
                scene.people.remove(person)
                cast.dismiss(person)
