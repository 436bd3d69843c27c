"""Chooses what happens next: scenes at a place among a few people, each a run of events."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from longctx.fiction.events import (
    NONE,
    TO_PLACE,
    Alias,
    Event,
    Gender,
    Kind,
    Person,
    Place,
    Promise,
    Secret,
    Stock,
    Thing,
)
from longctx.fiction.log import Log, add
from longctx.fiction.naming import Coiner
from longctx.fiction.world import World

_NUM_PEOPLE = 12
_NUM_PLACES = 9
_NUM_THINGS = 14
_NUM_SECRETS = 5
_MAX_HELD = 4
_MAX_STOCK = 60


@dataclass(slots=True)
class Scene:
    """Where a run of events takes place and who is there."""

    place: int
    people: list[int]
    events: Iterator[Event] = field(repr=False)


class Simulator:
    """Endless scenes. An event is true of `world` as soon as it has been taken from `Scene.events`."""

    def __init__(
        self, log: Log, coiner: Coiner, phrase: Callable[[str], str], rng: random.Random, world: World | None = None
    ) -> None:
        """`phrase` unfolds the grammar's rules: `secret_content`, `stock_goods`, `deed` (verb/past form ~ object)."""
        self.world = world or World()
        self._log = log
        self._coiner = coiner
        self._phrase = phrase
        self._rng = rng
        self._random = rng.random
        self._clock = 0
        # What plays a part now, with the event after which it should not; heavy-tailed, so that
        # some stay for a chapter and a few for the whole book.
        self._people: dict[int, float] = {}
        self._places: dict[int, float] = {}
        self._things: dict[int, float] = {}
        self._secrets: dict[int, float] = {}
        self._aliases: dict[int, float] = {}
        """By person."""
        self._stocks: dict[int, float] = {}
        self._stocked: set[tuple[int, str]] = set()
        self._waiting: list[int] = []
        """People who have been named but have not arrived yet."""
        self._makers: list[tuple[float, Callable[[Scene], Event | None]]] = [
            (1.1, self._obtain),
            (1.8, self._take),
            (0.7, self._put),
            (1.1, self._hide),
            (0.5, self._lose),
            (1.6, self._give),
            (0.8, self._lend),
            (0.5, self._repair),
            (0.8, self._lie),
            (0.6, self._learn),
            (0.5, self._discover),
            (1.5, self._tell),
            (0.5, self._overhear),
            (0.8, self._promise),
            (0.5, self._keep),
            (0.35, self._disguise),
            (0.3, self._marry),
            (0.3, self._fall_out),
            (0.5, self._count),
            (0.6, self._remove),
            (0.4, self._add),
        ]
        self._weights = [weight for weight, _ in self._makers]

    # Choosing

    def _one(self, items: list[int]) -> int:
        return items[int(self._random() * len(items))]

    def _lifetime(self, scale: float) -> float:
        return self._clock + scale * self._rng.paretovariate(1.25)

    def _alias(self, person: int) -> int:
        """The alias that the next event calls this person by, or none."""
        alias = self.world.alias.get(person, NONE)
        if alias == NONE or self._clock > self._aliases[person] or self._random() < 0.45:
            return NONE
        return alias

    def _event(self, kind: Kind, who: int, whom: int = NONE, **fields: int) -> Event:
        whom_alias = NONE if whom == NONE else self._alias(whom)
        return Event(kind, who, whom, who_alias=self._alias(who), whom_alias=whom_alias, **fields)

    def _told(self, event: Event) -> Event:
        self.world.apply(event)
        self._clock += 1
        if event.kind in TO_PLACE and event.thing not in self._things:
            self.world.forget_thing(event.thing)
        return event

    # Scenes

    def scenes(self) -> Iterator[Scene]:
        """Without end. Each scene's events must be taken before the next scene is."""
        while True:
            self._turn_over()
            place = self._one(list(self._places))
            scene = Scene(place, self._gather(place), iter(()))
            scene.events = self._play(scene)
            yield scene

    def _gather(self, place: int) -> list[int]:
        """Who meets at the place: mostly those who are there, and always one or two who come."""
        here = [person for person in self._people if self.world.place_of.get(person) == place]
        self._rng.shuffle(here)
        there = [person for person in self._people if person not in here]
        self._rng.shuffle(there)
        return here[:3] + there[: self._rng.choice((1, 1, 2)) if len(here) > 1 else 2]

    def _play(self, scene: Scene) -> Iterator[Event]:
        for person in scene.people:
            if person in self._waiting:
                self._waiting.remove(person)
                yield self._told(Event(Kind.ARRIVE, person, place=scene.place))
            elif self.world.place_of[person] != scene.place:
                yield self._told(self._event(Kind.MOVE, person, place=scene.place))
        for _ in range(self._rng.randint(4, 10)):
            (_, make), *_ = self._rng.choices(self._makers, self._weights)
            event = make(scene)
            if event is not None:
                yield self._told(event)
        yield from self._part(scene)

    def _part(self, scene: Scene) -> Iterator[Event]:
        """Those whose time has come leave for good, after they have left what they had."""
        for person in list(scene.people):
            if self._clock > self._people[person] and len(self._people) > 4:
                for thing in self.world.held_by(person):
                    others = [other for other in scene.people if other != person and self._can_hold(other)]
                    if others and self._random() < 0.6:
                        yield self._told(self._event(Kind.GIVE, person, self._one(others), thing=thing))
                    else:
                        yield self._told(self._event(Kind.PUT, person, thing=thing, place=scene.place))
                yield self._told(self._event(Kind.LEAVE, person))
                scene.people.remove(person)
                del self._people[person]
                self._aliases.pop(person, None)

    def _turn_over(self) -> None:
        """Old places, things and secrets go out of the story, new ones and new people come in."""
        world = self.world
        for place in [place for place, end in self._places.items() if end < self._clock]:
            del self._places[place]
            self._stocked = {stocked for stocked in self._stocked if stocked[0] != place}
        while len(self._places) < _NUM_PLACES:
            self._places[add(self._log.places, Place(self._coiner.place(), len(self._log)))] = self._lifetime(70)
        while len(self._people) < _NUM_PEOPLE:
            self._new_person()
        for thing in [thing for thing, end in self._things.items() if end < self._clock]:
            # A thing in somebody's hands stays with that person; others are let go of.
            if thing in world.lies_at:
                world.forget_thing(thing)
            del self._things[thing]
        for secret in [secret for secret, end in self._secrets.items() if end < self._clock]:
            del self._secrets[secret]
            world.knowers.pop(secret, None)
        for stock in [stock for stock, end in self._stocks.items() if end < self._clock]:
            del self._stocks[stock]
            world.stock.pop(stock, None)
        for promise in list(world.open_promises)[:-20]:
            del world.open_promises[promise]

    def _new_person(self) -> None:
        gender: Gender = "f" if self._random() < 0.5 else "m"
        person = Person(self._coiner.person(gender), gender, self._coiner.trade(), len(self._log))
        self._people[number := add(self._log.people, person)] = self._lifetime(130)
        self._waiting.append(number)

    def _can_hold(self, person: int) -> bool:
        return len(self.world.held_by(person)) < _MAX_HELD

    def _two(self, scene: Scene) -> tuple[int, int] | None:
        if len(scene.people) < 2:
            return None
        first = self._one(scene.people)
        return first, self._one([person for person in scene.people if person != first])

    def _sometimes(self, place: int) -> int:
        return place if self._random() < 0.3 else NONE

    # Things

    def _held(self, scene: Scene) -> tuple[int, int] | None:
        """Someone here and something in his or her hands that still plays a part."""
        pairs = [
            (person, thing) for person in scene.people for thing in self.world.held_by(person) if thing in self._things
        ]
        return self._rng.choice(pairs) if pairs else None

    def _obtain(self, scene: Scene) -> Event | None:
        who = self._one(scene.people)
        if len(self._things) >= _NUM_THINGS or not self._can_hold(who):
            return None
        thing = add(self._log.things, Thing(self._coiner.thing(), len(self._log)))
        self._things[thing] = self._lifetime(60)
        return self._event(Kind.OBTAIN, who, thing=thing)

    def _take(self, scene: Scene) -> Event | None:
        things = [thing for thing in self.world.lying_at(scene.place) if thing in self._things]
        takers = [person for person in scene.people if self._can_hold(person)]
        if not things or not takers:
            return None
        return self._event(Kind.TAKE, self._one(takers), thing=self._one(things), place=self._sometimes(scene.place))

    def _lay_down(self, scene: Scene, kind: Kind) -> Event | None:
        if not (held := self._held(scene)):
            return None
        return self._event(kind, held[0], thing=held[1], place=scene.place)

    def _put(self, scene: Scene) -> Event | None:
        return self._lay_down(scene, Kind.PUT)

    def _hide(self, scene: Scene) -> Event | None:
        return self._lay_down(scene, Kind.HIDE)

    def _lose(self, scene: Scene) -> Event | None:
        return self._lay_down(scene, Kind.LOSE)

    def _hand_over(self, scene: Scene, kind: Kind) -> Event | None:
        held = self._held(scene)
        if not held:
            return None
        takers = [person for person in scene.people if person != held[0] and self._can_hold(person)]
        if not takers:
            return None
        place = self._sometimes(scene.place)
        return self._event(kind, held[0], self._one(takers), thing=held[1], place=place)

    def _give(self, scene: Scene) -> Event | None:
        return self._hand_over(scene, Kind.GIVE)

    def _lend(self, scene: Scene) -> Event | None:
        return self._hand_over(scene, Kind.LEND)

    def _repair(self, scene: Scene) -> Event | None:
        held = self._held(scene)
        return held and self._event(Kind.REPAIR, held[0], thing=held[1])

    # What people think and know

    def _lie(self, scene: Scene) -> Event | None:
        pair = self._two(scene)
        world = self.world
        things = [thing for thing in self._things if world.holder.get(thing) != (pair or (NONE, NONE))[1]]
        if not pair or not things:
            return None
        thing = self._one(things)
        places = [place for place in self._places if place != world.where(thing) and place != scene.place]
        return self._event(Kind.LIE, *pair, thing=thing, place=self._one(places)) if places else None

    def _learn(self, scene: Scene) -> Event | None:
        who = self._one(scene.people)
        things = [thing for thing in self.world.mistakes_of(who) if thing in self.world.lies_at]
        if not things:
            return None
        thing = self._one(things)
        return self._event(Kind.LEARN, who, thing=thing, place=self.world.lies_at[thing])

    def _discover(self, scene: Scene) -> Event | None:
        if len(self._secrets) >= _NUM_SECRETS:
            return None
        secret = Secret(self._coiner.topic(), self._phrase("secret_content"), len(self._log))
        number = add(self._log.secrets, secret)
        self._secrets[number] = self._lifetime(120)
        return self._event(Kind.DISCOVER, self._one(scene.people), what=number)

    def _secret_between(self, scene: Scene) -> tuple[int, int, int] | None:
        """Someone who knows a secret, someone who does not, and the secret."""
        knowers = self.world.knowers
        found = [
            (knower, other, secret)
            for secret in self._secrets
            for knower in scene.people
            if knower in knowers[secret]
            for other in scene.people
            if other not in knowers[secret]
        ]
        return self._rng.choice(found) if found else None

    def _tell(self, scene: Scene) -> Event | None:
        found = self._secret_between(scene)
        return found and self._event(Kind.TELL, found[0], found[1], what=found[2])

    def _overhear(self, scene: Scene) -> Event | None:
        found = self._secret_between(scene)
        return found and self._event(Kind.OVERHEAR, found[1], found[0], what=found[2])

    def _promise(self, scene: Scene) -> Event | None:
        if not (pair := self._two(scene)):
            return None
        deed, done = _both_tenses(self._phrase("deed"))
        promise = add(self._log.promises, Promise(deed, done, len(self._log)))
        return self._event(Kind.PROMISE, *pair, what=promise)

    def _keep(self, scene: Scene) -> Event | None:
        here = [
            (promise, pair)
            for promise, pair in self.world.open_promises.items()
            if pair[0] in scene.people and pair[1] in scene.people
        ]
        if not here:
            return None
        promise, pair = self._rng.choice(here)
        return self._event(Kind.KEEP, *pair, what=promise)

    # Ties

    def _disguise(self, scene: Scene) -> Event | None:
        who = self._one(scene.people)
        if who in self.world.alias and self._random() < 0.7:
            return None
        garment = self._coiner.garment()
        head = "woman" if self._log.people[who].gender == "f" else "man"
        name = f"the {head} in the {garment.partition(' ')[2]}"
        alias = add(self._log.aliases, Alias(name, garment, who, len(self._log)))
        self._aliases[who] = self._lifetime(40)
        return Event(Kind.DISGUISE, who, what=alias)

    def _marry(self, scene: Scene) -> Event | None:
        pair = self._two(scene)
        if not pair or pair[0] in self.world.spouse or pair[1] in self.world.spouse:
            return None
        if self._log.people[pair[0]].gender == self._log.people[pair[1]].gender:
            return None
        return self._event(Kind.MARRY, *pair, place=self._sometimes(scene.place))

    def _fall_out(self, scene: Scene) -> Event | None:
        pair = self._two(scene)
        if not pair or self.world.spouse.get(pair[0]) == pair[1] or pair in self.world.at_odds:
            return None
        return self._event(Kind.FALL_OUT, *pair)

    # Stocks

    def _stock_here(self, scene: Scene) -> int | None:
        here = [stock for stock in self._stocks if self._log.stocks[stock].place == scene.place]
        return self._one(here) if here else None

    def _count(self, scene: Scene) -> Event | None:
        stock = self._stock_here(scene)
        if stock is None:
            goods = self._phrase("stock_goods")
            if (scene.place, goods) in self._stocked:
                return None
            self._stocked.add((scene.place, goods))
            stock = add(self._log.stocks, Stock(goods, scene.place, len(self._log)))
            self._stocks[stock] = self._lifetime(90)
            self.world.stock[stock] = self._rng.randint(12, _MAX_STOCK)
        number = self.world.stock[stock]
        return self._event(Kind.COUNT, self._one(scene.people), what=stock, place=scene.place, number=number)

    def _remove(self, scene: Scene) -> Event | None:
        stock = self._stock_here(scene)
        if stock is None or self.world.stock[stock] < 4:
            return None
        number = self._rng.randint(2, min(9, self.world.stock[stock] - 1))
        return self._event(Kind.REMOVE, self._one(scene.people), what=stock, place=scene.place, number=number)

    def _add(self, scene: Scene) -> Event | None:
        stock = self._stock_here(scene)
        if stock is None or self.world.stock[stock] > _MAX_STOCK:
            return None
        number = self._rng.randint(2, 9)
        return self._event(Kind.ADD, self._one(scene.people), what=stock, place=scene.place, number=number)


def _both_tenses(deed: str) -> tuple[str, str]:
    """mend the barn, mended the barn: from mend/mended ~ the barn."""
    verbs, _, thing = deed.partition(" ~ ")
    base, _, past = verbs.partition("/")
    return f"{base} {thing}", f"{past} {thing}"
