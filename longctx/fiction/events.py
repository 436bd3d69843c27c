"""What can happen in the world, and who and what there is: the records of the event log.

An event is always told with the names (or the one alias) of everyone and everything in it, so
what these records say is what a reader can know. Ids count up from 0; -1 stands for "none".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

NONE = -1
Gender = Literal["f", "m"]


class Kind(IntEnum):
    """The kinds of events. The comment says which fields of Event a kind fills besides `who`."""

    ARRIVE = 0  # place: who comes into the story
    MOVE = 1  # place
    OBTAIN = 2  # thing: it comes into the story, in the hands of who
    TAKE = 3  # thing, sometimes place
    PUT = 4  # thing, place
    HIDE = 5  # thing, place
    LOSE = 6  # thing, place: who does not notice
    GIVE = 7  # thing, whom, sometimes place
    LEND = 8  # thing, whom, sometimes place
    REPAIR = 9  # thing
    LIE = 10  # whom, thing, place: who says that the thing is at the place, and it is not
    LEARN = 11  # thing, place: who finds out that the thing is at the place
    DISCOVER = 12  # what = secret
    TELL = 13  # whom, what = secret
    OVERHEAR = 14  # whom = the one overheard, what = secret
    PROMISE = 15  # whom, what = promise
    KEEP = 16  # whom, what = promise
    DISGUISE = 17  # what = alias
    MARRY = 18  # whom, sometimes place
    FALL_OUT = 19  # whom
    COUNT = 20  # what = stock, place, number
    REMOVE = 21  # what = stock, place, number
    ADD = 22  # what = stock, place, number
    LEAVE = 23  # who goes away for good


TO_WHO = frozenset({Kind.OBTAIN, Kind.TAKE})
"""After these, who has the thing."""
TO_WHOM = frozenset({Kind.GIVE, Kind.LEND})
"""After these, whom has the thing."""
TO_PLACE = frozenset({Kind.PUT, Kind.HIDE, Kind.LOSE})
"""After these the thing lies at the place."""
WHEREABOUTS = TO_WHO | TO_WHOM | TO_PLACE | {Kind.LEARN}
"""These say where a thing is, or who has it."""
CLAIMS = frozenset({Kind.LIE, Kind.LEARN})
"""In these the place is that of the thing; in all others it is where who (and whom) stand."""
OF_SECRETS = frozenset({Kind.DISCOVER, Kind.TELL, Kind.OVERHEAR})
OF_STOCKS = frozenset({Kind.COUNT, Kind.REMOVE, Kind.ADD})


@dataclass(frozen=True, slots=True)
class Event:
    kind: Kind
    who: int
    whom: int = NONE
    thing: int = NONE
    place: int = NONE
    what: int = NONE
    """A secret, a promise, an alias or a stock, by the kind."""
    number: int = NONE
    who_alias: int = NONE
    """The alias by which the text calls `who`; none: the name."""
    whom_alias: int = NONE


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    gender: Gender
    trade: str
    first: int
    """The first event that could mention this; entities stand in the log in this order."""


@dataclass(frozen=True, slots=True)
class Place:
    name: str
    first: int


@dataclass(frozen=True, slots=True)
class Thing:
    name: str
    """With its article: the pewter flask."""
    first: int


@dataclass(frozen=True, slots=True)
class Alias:
    name: str
    """With its article: the woman in the grey coat."""
    garment: str
    """What is put on for it: a grey coat."""
    person: int
    first: int


@dataclass(frozen=True, slots=True)
class Secret:
    topic: str
    """An invented name; the secret is called the secret of <topic>."""
    content: str
    first: int


@dataclass(frozen=True, slots=True)
class Promise:
    deed: str
    """mend the roof of the bakehouse"""
    done: str
    """mended the roof of the bakehouse"""
    first: int


@dataclass(frozen=True, slots=True)
class Stock:
    goods: str
    """sacks of barley"""
    place: int
    first: int
