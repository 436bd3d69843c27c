"""Makes questions: each maker takes one event and asks something that rests on it, or gives up.

A maker looks backwards from the event with the index. The checker replays the story forwards
and shares none of this.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from longctx.fiction.drafts import Draft
from longctx.fiction.events import NONE, TO_PLACE, TO_WHO, TO_WHOM, WHEREABOUTS, Event, Kind
from longctx.fiction.moment import Moment
from longctx.fiction.statements import CLAUSES, clause_by_name
from longctx.fiction.wording import AND_ALSO, CHAIN, FORMS

Maker = Callable[[Moment, int, random.Random], Draft | None]


def _thing_now(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    thing = moment.log[anchor].thing
    if moment.whereabouts(thing)[-1] != anchor:
        return None
    where = moment.thing_at(thing)
    return where and Draft("thing_now", {"thing": moment.log.things[thing].name}, where.support, "place", where.place)


def _person_now(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    person = moment.log[anchor].who
    where = moment.person_at(person)
    if where is None or anchor not in where.support:
        return None
    name, support = moment.mention(person, rng, where.support)
    return Draft("person_now", {"person": name}, support, "place", where.place)


def _before_move(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    event = moment.log[anchor]
    ids = moment.stands(event.who)
    places = moment.index.places[ids]
    here = places == event.place
    comings = np.flatnonzero(here[1:] & ~here[:-1]) + 1
    if here[0] or len(comings) != 1 or ids[comings[0]] != anchor:
        return None  # the question must mean this one coming
    before = ids[comings[0] - 1]
    support = {before, anchor} | moment.aliases_in(before, event.who) | moment.aliases_in(anchor, event.who)
    name, support = moment.mention(event.who, rng, support)
    slots = {"person": name, "place": moment.log.places[event.place].name}
    return Draft("before_move", slots, support, "place", moment.log[before].place)


def _before_take(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    event = moment.log[anchor]
    ids = moment.whereabouts(event.thing)
    events = moment.events(ids)
    if sum(other.kind == Kind.TAKE and other.who == event.who for other in events) != 1:
        return None
    before = ids.index(anchor) - 1
    if before < 0 or events[before].kind not in TO_PLACE:
        return None
    support = {anchor} | moment.aliases_in(anchor, event.who)
    if event.place == NONE:
        support.add(ids[before])
    name, support = moment.mention(event.who, rng, support)
    slots = {"person": name, "thing": moment.log.things[event.thing].name}
    return Draft("before_take", slots, support, "place", events[before].place)


def _had_before(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    event = moment.log[anchor]
    person = event.who if event.kind in TO_WHO else event.whom
    hands: list[tuple[int, int]] = []  # who had it, by which event
    for one in moment.whereabouts(event.thing):
        other = moment.log[one]
        having = [] if other.kind == Kind.LEARN else [other.who, other.whom] if other.kind in TO_WHOM else [other.who]
        hands += [(holder, one) for holder in having]
    got = next(number for number, pair in enumerate(hands) if pair == (person, anchor))
    runs = [number for number, (who, _) in enumerate(hands) if who == person and hands[number - 1][0] != person]
    if got == 0 or hands[0][0] == person or runs != [got]:
        return None  # the question must mean this one time
    before, told = hands[got - 1]
    support = {anchor, told} | moment.aliases_in(anchor, person) | moment.aliases_in(told, before)
    name, support = moment.mention(person, rng, support)
    slots = {"person": name, "thing": moment.log.things[event.thing].name}
    return Draft("had_before", slots, support, "person", before)


def _gave(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    event = moment.log[anchor]
    same = [other for other in moment.events(moment.whereabouts(event.thing)) if other.kind == event.kind]
    lent = event.kind == Kind.LEND
    if rng.random() < 0.5:
        form, asked, answer = "lender" if lent else "giver", event.whom, event.who
        unique = sum(other.whom == asked for other in same) == 1
    else:
        form, asked, answer = "lent" if lent else "given", event.who, event.whom
        unique = sum(other.who == asked for other in same) == 1
    if not unique:
        return None
    name, support = moment.mention(asked, rng, {anchor} | moment.aliases_in(anchor, asked, answer))
    slots = {"person": name, "thing": moment.log.things[event.thing].name}
    return Draft(form, slots, support, "person", answer)


def _came_to_know(event: Event) -> int:
    return event.whom if event.kind == Kind.TELL else event.who


def _knower(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    event = moment.log[anchor]
    person = _came_to_know(event)
    knowers = {_came_to_know(other) for other in moment.events(moment.index.of_secret.before(event.what, moment.end))}
    others = moment.people_like(person, rng, 4, without=knowers)
    if len(others) < 3:
        return None
    names = [moment.log.people[one].name for one in (person, *others)]
    listed = sorted(names, key=lambda _: rng.random())
    slots = {
        "topic": moment.log.secrets[event.what].topic,
        "people": f"{', '.join(listed[:-1])} or {listed[-1]}",
    }
    return Draft("knower", slots, {anchor} | moment.aliases_in(anchor, person), "listed", listed=names)


def _teller(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    event = moment.log[anchor]
    ids = moment.index.of_secret.before(event.what, moment.end)
    tellings = {moment.log[one].whom: one for one in ids if moment.log[one].kind == Kind.TELL}
    steps = [anchor]
    wanted = rng.randint(1, 4)
    while len(steps) < wanted and (earlier := tellings.get(moment.log[steps[-1]].who)) is not None:
        steps.append(earlier)
    name, support = moment.mention(event.whom, rng, moment.with_aliases(steps))
    slots = {"topic": moment.log.secrets[event.what].topic, "chain": CHAIN * (len(steps) - 1), "person": name}
    return Draft("teller", slots, support, "person", moment.log[steps[-1]].who)


def _overheard(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    event = moment.log[anchor]
    name, support = moment.mention(event.who, rng, {anchor} | moment.aliases_in(anchor, event.who, event.whom))
    slots = {"topic": moment.log.secrets[event.what].topic, "person": name}
    return Draft("overheard", slots, support, "person", event.whom)


def _belief(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    event = moment.log[anchor]
    person = event.whom if event.kind == Kind.LIE else event.who
    for one in moment.index.of_thing.before(event.thing, moment.end):
        other = moment.log[one]
        liar = other.kind == Kind.LIE and other.who == person
        if one > anchor and person in (other.who, other.whom) and other.kind != Kind.REPAIR and not liar:
            return None  # learned better, or at least otherwise
    truth = moment.thing_at(event.thing)
    if truth is None or truth.place == event.place:
        return None
    name, support = moment.mention(person, rng, truth.support | {anchor} | moment.aliases_in(anchor, person))
    slots = {"person": name, "thing": moment.log.things[event.thing].name}
    return Draft("belief", slots, support, "place", event.place)


def _is_unique(moment: Moment, anchor: int) -> bool:
    """Whether no other event so far would be called the same."""
    called = clause_by_name(moment.log, event := moment.log[anchor])
    return not any(
        one != anchor
        and other.kind == event.kind
        and other.who == event.who
        and clause_by_name(moment.log, other) == called
        for one in moment.index.names.before(event.who, moment.end)[-3000:]
        if (other := moment.log[one])
    )


def _first(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    chosen = [anchor]
    for _ in range(rng.choice((1, 1, 2, 3))):
        later = anchor + 1 + int((moment.end - anchor) ** rng.random())
        while later < moment.end and (moment.log[later].kind not in CLAUSES or later in chosen):
            later += 1
        if later >= moment.end:
            return None
        chosen.append(later)
    if not all(_is_unique(moment, one) for one in chosen):
        return None
    clauses = [clause_by_name(moment.log, moment.log[one]) for one in chosen]
    slots = {"events": AND_ALSO.join(sorted(clauses, key=lambda _: rng.random()))}
    return Draft("first", slots, moment.with_aliases(chosen), "listed", listed=clauses)


def _stock(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    event = moment.log[anchor]
    later = [one for one in moment.index.of_stock.before(event.what, moment.end) if one > anchor]
    changes = moment.events(later)
    if any(change.kind == Kind.COUNT for change in changes):
        return None
    number = event.number + sum(change.number if change.kind == Kind.ADD else -change.number for change in changes)
    stock = moment.log.stocks[event.what]
    slots = {"goods": stock.goods, "place": moment.log.places[stock.place].name}
    return Draft("stock", slots, {anchor, *later}, "number", number)


def _alias(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    event = moment.log[anchor]
    return Draft("alias", {"alias": moment.log.aliases[event.what].name}, {anchor}, "person", event.who)


def _spouse(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    event = moment.log[anchor]
    person, answer = (event.who, event.whom) if rng.random() < 0.5 else (event.whom, event.who)
    used = moment.aliases_in(anchor, person, answer)
    disguises = [one for one in moment.index.disguises.before(person, moment.end) if one not in used]
    if not disguises or len(moment.index.marriages.before(person, moment.end)) != 1:
        return None
    alias = rng.choice(disguises)
    name = moment.log.aliases[moment.log[alias].what].name
    return Draft("spouse", {"person": name}, {anchor, alias} | used, "person", answer)


def _promise(moment: Moment, anchor: int, rng: random.Random) -> Draft | None:
    event = moment.log[anchor]
    ids = [one for one in moment.index.promises.before(event.who, moment.end) if moment.log[one].whom == event.whom]
    kept = {moment.log[one].what for one in ids if moment.log[one].kind == Kind.KEEP}
    if {moment.log[one].what for one in ids} - kept != {event.what}:
        return None
    person, support = moment.mention(event.who, rng, moment.with_aliases(ids))
    slots = {"person": person, "other": moment.log.people[event.whom].name}
    return Draft("promise", slots, support, "deed", event.what)


MAKERS: tuple[tuple[str, Maker, tuple[Kind, ...]], ...] = tuple(
    (FORMS[form].kind, make, tuple(kinds))
    for form, make, kinds in (
        ("thing_now", _thing_now, WHEREABOUTS),
        ("person_now", _person_now, (Kind.ARRIVE, Kind.MOVE)),
        ("before_move", _before_move, (Kind.MOVE,)),
        ("before_take", _before_take, (Kind.TAKE,)),
        ("had_before", _had_before, (Kind.TAKE, Kind.GIVE, Kind.LEND)),
        ("giver", _gave, (Kind.GIVE, Kind.LEND)),
        ("knower", _knower, (Kind.DISCOVER, Kind.TELL, Kind.OVERHEAR)),
        ("teller", _teller, (Kind.TELL,)),
        ("overheard", _overheard, (Kind.OVERHEAR,)),
        ("belief", _belief, (Kind.LIE, Kind.HIDE, Kind.PUT, Kind.LEARN)),
        ("first", _first, tuple(CLAUSES)),
        ("stock", _stock, (Kind.COUNT,)),
        ("alias", _alias, (Kind.DISGUISE,)),
        ("spouse", _spouse, (Kind.MARRY,)),
        ("promise", _promise, (Kind.PROMISE,)),
    )
)
"""The kind asked, the maker, and the kinds of event it starts from."""
