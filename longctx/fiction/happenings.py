"""What can happen in a scene: each kind of event is made here, or given up where it cannot happen now."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from longctx.fiction.cast import Cast, Scene
from longctx.fiction.events import NONE, Alias, Event, Kind, Promise, Secret, Stock, Thing
from longctx.fiction.log import add

_NUM_THINGS = 14
_NUM_SECRETS = 5
_MAX_STOCK = 60


class Happenings:
    """Makes one event at a time; an event is true only once the cast has been told of it."""

    def __init__(self, cast: Cast, phrase: Callable[[str], str]) -> None:
        """`phrase` unfolds the grammar's rules: `secret_content`, `stock_goods`, `deed` (verb/past form ~ object)."""
        self._cast = cast
        self._world = cast.world
        self._log = cast.log
        self._phrase = phrase
        self._rng = cast.rng
        self._makers: list[tuple[float, Callable[[Scene], Event | None]]] = [
            (1.1, self._obtain),
            (1.8, self._take),
            (0.7, partial(self._lay_down, Kind.PUT)),
            (1.1, partial(self._lay_down, Kind.HIDE)),
            (0.5, partial(self._lay_down, Kind.LOSE)),
            (1.6, partial(self._hand_over, Kind.GIVE)),
            (0.8, partial(self._hand_over, Kind.LEND)),
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

    def make(self, scene: Scene) -> Event | None:
        """Something that could happen now among those in the scene; None if what was chosen could not."""
        ((_, make),) = self._rng.choices(self._makers, self._weights)
        return make(scene)

    def _two(self, scene: Scene) -> tuple[int, int] | None:
        if len(scene.people) < 2:
            return None
        first = self._cast.one(scene.people)
        return first, self._cast.one([person for person in scene.people if person != first])

    def _sometimes(self, place: int) -> int:
        return place if self._rng.random() < 0.3 else NONE

    # Things

    def _held(self, scene: Scene) -> tuple[int, int] | None:
        """Someone here and something in his or her hands that still plays a part."""
        pairs = [
            (person, thing)
            for person in scene.people
            for thing in self._world.held_by(person)
            if thing in self._cast.things
        ]
        return self._rng.choice(pairs) if pairs else None

    def _obtain(self, scene: Scene) -> Event | None:
        who = self._cast.one(scene.people)
        if len(self._cast.things) >= _NUM_THINGS or not self._cast.can_hold(who):
            return None
        thing = add(self._log.things, Thing(self._cast.coiner.thing(), len(self._log)))
        self._cast.things[thing] = self._cast.lifetime(60)
        return self._cast.event(Kind.OBTAIN, who, thing=thing)

    def _take(self, scene: Scene) -> Event | None:
        cast = self._cast
        things = [thing for thing in self._world.lying_at(scene.place) if thing in cast.things]
        takers = [person for person in scene.people if cast.can_hold(person)]
        if not things or not takers:
            return None
        return cast.event(Kind.TAKE, cast.one(takers), thing=cast.one(things), place=self._sometimes(scene.place))

    def _lay_down(self, kind: Kind, scene: Scene) -> Event | None:
        if not (held := self._held(scene)):
            return None
        return self._cast.event(kind, held[0], thing=held[1], place=scene.place)

    def _hand_over(self, kind: Kind, scene: Scene) -> Event | None:
        held = self._held(scene)
        if not held:
            return None
        takers = [person for person in scene.people if person != held[0] and self._cast.can_hold(person)]
        if not takers:
            return None
        place = self._sometimes(scene.place)
        return self._cast.event(kind, held[0], self._cast.one(takers), thing=held[1], place=place)

    def _repair(self, scene: Scene) -> Event | None:
        held = self._held(scene)
        return held and self._cast.event(Kind.REPAIR, held[0], thing=held[1])

    # What people think and know

    def _lie(self, scene: Scene) -> Event | None:
        pair = self._two(scene)
        cast, world = self._cast, self._world
        things = [thing for thing in cast.things if world.holder.get(thing) != (pair or (NONE, NONE))[1]]
        if not pair or not things:
            return None
        thing = cast.one(things)
        places = [place for place in cast.places if place != world.where(thing) and place != scene.place]
        return cast.event(Kind.LIE, *pair, thing=thing, place=cast.one(places)) if places else None

    def _learn(self, scene: Scene) -> Event | None:
        who = self._cast.one(scene.people)
        things = [thing for thing in self._world.mistakes_of(who) if thing in self._world.lies_at]
        if not things:
            return None
        thing = self._cast.one(things)
        return self._cast.event(Kind.LEARN, who, thing=thing, place=self._world.lies_at[thing])

    def _discover(self, scene: Scene) -> Event | None:
        if len(self._cast.secrets) >= _NUM_SECRETS:
            return None
        secret = Secret(self._cast.coiner.topic(), self._phrase("secret_content"), len(self._log))
        number = add(self._log.secrets, secret)
        self._cast.secrets[number] = self._cast.lifetime(120)
        return self._cast.event(Kind.DISCOVER, self._cast.one(scene.people), what=number)

    def _secret_between(self, scene: Scene) -> tuple[int, int, int] | None:
        """Someone who knows a secret, someone who does not, and the secret."""
        knowers = self._world.knowers
        found = [
            (knower, other, secret)
            for secret in self._cast.secrets
            for knower in scene.people
            if knower in knowers[secret]
            for other in scene.people
            if other not in knowers[secret]
        ]
        return self._rng.choice(found) if found else None

    def _tell(self, scene: Scene) -> Event | None:
        found = self._secret_between(scene)
        return found and self._cast.event(Kind.TELL, found[0], found[1], what=found[2])

    def _overhear(self, scene: Scene) -> Event | None:
        found = self._secret_between(scene)
        return found and self._cast.event(Kind.OVERHEAR, found[1], found[0], what=found[2])

    def _promise(self, scene: Scene) -> Event | None:
        if not (pair := self._two(scene)):
            return None
        deed, done = _both_tenses(self._phrase("deed"))
        promise = add(self._log.promises, Promise(deed, done, len(self._log)))
        return self._cast.event(Kind.PROMISE, *pair, what=promise)

    def _keep(self, scene: Scene) -> Event | None:
        here = [
            (promise, pair)
            for promise, pair in self._world.open_promises.items()
            if pair[0] in scene.people and pair[1] in scene.people
        ]
        if not here:
            return None
        promise, pair = self._rng.choice(here)
        return self._cast.event(Kind.KEEP, *pair, what=promise)

    # Ties

    def _disguise(self, scene: Scene) -> Event | None:
        who = self._cast.one(scene.people)
        if who in self._world.alias and self._rng.random() < 0.7:
            return None
        garment = self._cast.coiner.garment()
        head = "woman" if self._log.people[who].gender == "f" else "man"
        name = f"the {head} in the {garment.partition(' ')[2]}"
        alias = add(self._log.aliases, Alias(name, garment, who, len(self._log)))
        self._cast.aliases[who] = self._cast.lifetime(40)
        return Event(Kind.DISGUISE, who, what=alias)

    def _marry(self, scene: Scene) -> Event | None:
        pair = self._two(scene)
        if not pair or pair[0] in self._world.spouse or pair[1] in self._world.spouse:
            return None
        if self._log.people[pair[0]].gender == self._log.people[pair[1]].gender:
            return None
        return self._cast.event(Kind.MARRY, *pair, place=self._sometimes(scene.place))

    def _fall_out(self, scene: Scene) -> Event | None:
        pair = self._two(scene)
        if not pair or self._world.spouse.get(pair[0]) == pair[1] or pair in self._world.at_odds:
            return None
        return self._cast.event(Kind.FALL_OUT, *pair)

    # Stocks

    def _stock_here(self, scene: Scene) -> int | None:
        here = [stock for stock in self._cast.stocks if self._log.stocks[stock].place == scene.place]
        return self._cast.one(here) if here else None

    def _count(self, scene: Scene) -> Event | None:
        stock = self._stock_here(scene)
        if stock is None:
            goods = self._phrase("stock_goods")
            if (scene.place, goods) in self._cast.stocked:
                return None
            self._cast.stocked.add((scene.place, goods))
            stock = add(self._log.stocks, Stock(goods, scene.place, len(self._log)))
            self._cast.stocks[stock] = self._cast.lifetime(90)
            self._world.stock[stock] = self._rng.randint(12, _MAX_STOCK)
        return self._of_stock(Kind.COUNT, scene, stock, self._world.stock[stock])

    def _remove(self, scene: Scene) -> Event | None:
        stock = self._stock_here(scene)
        if stock is None or self._world.stock[stock] < 4:
            return None
        return self._of_stock(Kind.REMOVE, scene, stock, self._rng.randint(2, min(9, self._world.stock[stock] - 1)))

    def _add(self, scene: Scene) -> Event | None:
        stock = self._stock_here(scene)
        if stock is None or self._world.stock[stock] > _MAX_STOCK:
            return None
        return self._of_stock(Kind.ADD, scene, stock, self._rng.randint(2, 9))

    def _of_stock(self, kind: Kind, scene: Scene, stock: int, number: int) -> Event:
        who = self._cast.one(scene.people)
        return self._cast.event(kind, who, what=stock, place=scene.place, number=number)


def _both_tenses(deed: str) -> tuple[str, str]:
    """mend the barn, mended the barn: from mend/mended ~ the barn."""
    verbs, _, thing = deed.partition(" ~ ")
    base, _, past = verbs.partition("/")
    return f"{base} {thing}", f"{past} {thing}"
