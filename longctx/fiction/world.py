"""How things stand in the story at one moment, and what each person takes to be so."""

from __future__ import annotations

from longctx.fiction.events import CLAIMS, NONE, OF_SECRETS, TO_PLACE, TO_WHO, TO_WHOM, Event, Kind


class World:
    """State of those who and what still play a part. Nothing here grows with the story."""

    def __init__(self) -> None:
        self.place_of: dict[int, int] = {}
        """Person to place."""
        self.holder: dict[int, int] = {}
        """Thing to person, for things in somebody's hands."""
        self.lies_at: dict[int, int] = {}
        """Thing to place, for all others."""
        self.thinks: dict[int, dict[int, int]] = {}
        """Thing to person to the place where that person takes it to be."""
        self.spouse: dict[int, int] = {}
        self.at_odds: set[tuple[int, int]] = set()
        self.alias: dict[int, int] = {}
        """Person to the alias that he or she goes by."""
        self.knowers: dict[int, set[int]] = {}
        """Secret to those who know it."""
        self.open_promises: dict[int, tuple[int, int]] = {}
        """Promise to who gave it and to whom."""
        self.stock: dict[int, int] = {}
        """Stock to number."""

    def apply(self, event: Event) -> None:
        """Makes the event so."""
        kind, who, whom, thing = event.kind, event.who, event.whom, event.thing
        if event.place != NONE and kind not in CLAIMS:
            self.place_of[who] = event.place
        if thing != NONE:
            self._move_thing(event)
        if kind in OF_SECRETS:
            self.knowers.setdefault(event.what, set()).add(whom if kind == Kind.TELL else who)
        elif kind == Kind.PROMISE:
            self.open_promises[event.what] = (who, whom)
        elif kind == Kind.KEEP:
            del self.open_promises[event.what]
        elif kind == Kind.DISGUISE:
            self.alias[who] = event.what
        elif kind == Kind.MARRY:
            self.spouse |= {who: whom, whom: who}
            self.at_odds -= {(who, whom), (whom, who)}
        elif kind == Kind.FALL_OUT:
            self.at_odds.add((who, whom))
        elif kind == Kind.COUNT:
            self.stock[event.what] = event.number
        elif kind == Kind.REMOVE:
            self.stock[event.what] -= event.number
        elif kind == Kind.ADD:
            self.stock[event.what] += event.number
        elif kind == Kind.LEAVE:
            self._forget_person(who)

    def _move_thing(self, event: Event) -> None:
        """Only those named in an event see it; everyone else goes on thinking what they thought."""
        kind, thing = event.kind, event.thing
        thinks = self.thinks.setdefault(thing, {})
        if kind in TO_WHO or kind in TO_WHOM:
            self.holder[thing] = event.who if kind in TO_WHO else event.whom
            self.lies_at.pop(thing, None)
            thinks.pop(event.who, None)
            thinks.pop(event.whom, None)
        elif kind in TO_PLACE:
            self.lies_at[thing] = event.place
            self.holder.pop(thing, None)
            thinks.pop(event.who, None)
            if kind != Kind.LOSE:
                thinks[event.who] = event.place
        elif kind == Kind.LIE:
            thinks[event.whom] = event.place
        elif kind == Kind.LEARN:
            thinks[event.who] = event.place

    def held_by(self, person: int) -> list[int]:
        return [thing for thing, holder in self.holder.items() if holder == person]

    def lying_at(self, place: int) -> list[int]:
        return [thing for thing, where in self.lies_at.items() if where == place]

    def where(self, thing: int) -> int:
        """The place of a thing, in somebody's hands or not."""
        return self.lies_at[thing] if thing in self.lies_at else self.place_of[self.holder[thing]]

    def mistakes_of(self, person: int) -> list[int]:
        """Things that lie elsewhere than this person thinks."""
        return [
            thing
            for thing, thinks in self.thinks.items()
            if person in thinks and self.lies_at.get(thing, thinks[person]) != thinks[person]
        ]

    def forget_thing(self, thing: int) -> None:
        """Lets go of a thing that plays no part any more."""
        for table in (self.holder, self.lies_at, self.thinks):
            table.pop(thing, None)

    def _forget_person(self, person: int) -> None:
        for table in (self.place_of, self.spouse, self.alias):
            table.pop(person, None)
        for thinks in self.thinks.values():
            thinks.pop(person, None)
        self.at_odds = {pair for pair in self.at_odds if person not in pair}
        self.open_promises = {promise: pair for promise, pair in self.open_promises.items() if person not in pair}
