"""Events as plain sentences: one shape for each kind, with all names."""

from __future__ import annotations

from longctx.fiction.events import NONE, Event, Kind
from longctx.fiction.log import Log
from longctx.fiction.naming import number_word

_PLAIN = {
    Kind.ARRIVE: "{who}, {trade}, arrived at {place} for the first time",
    Kind.MOVE: "{who} went to {place}",
    Kind.OBTAIN: "{who} came by {thing}",
    Kind.TAKE: "{who} took {thing}{at}",
    Kind.PUT: "{who} left {thing} at {place}",
    Kind.HIDE: "{who} hid {thing} at {place}",
    Kind.LOSE: "{who} lost {thing} at {place} without noticing",
    Kind.GIVE: "{who} gave {thing} to {whom}{at}",
    Kind.LEND: "{who} lent {thing} to {whom}{at}",
    Kind.REPAIR: "{who} repaired {thing}",
    Kind.LIE: "{who} told {whom} falsely that {thing} was at {place}",
    Kind.LEARN: "{who} found out that {thing} was at {place}",
    Kind.DISCOVER: "{who} discovered the secret of {topic}: {content}",
    Kind.TELL: "{who} told {whom} the secret of {topic}",
    Kind.OVERHEAR: "{who} overheard the secret of {topic} from {whom}",
    Kind.PROMISE: "{who} promised {whom} to {deed}",
    Kind.KEEP: "{who} kept a promise to {whom} and {done}",
    Kind.DISGUISE: "{who} put on {garment} and became known as {alias}",
    Kind.MARRY: "{who} married {whom}{at}",
    Kind.FALL_OUT: "{who} fell out with {whom}",
    Kind.COUNT: "{who} counted the {goods} at {place} and found {number}",
    Kind.REMOVE: "{who} removed {number} of the {goods} from {place}",
    Kind.ADD: "{who} added {number} to the {goods} at {place}",
    Kind.LEAVE: "{who} went away for good",
}

# What a question about the order of events calls them: short, and by real names.
CLAUSES = {
    Kind.ARRIVE: "{who} arrived for the first time",
    Kind.GIVE: "{who} gave {thing} to {whom}",
    Kind.LEND: "{who} lent {thing} to {whom}",
    Kind.HIDE: "{who} hid {thing} at {place}",
    Kind.REPAIR: "{who} repaired {thing}",
    Kind.DISCOVER: "{who} discovered the secret of {topic}",
    Kind.TELL: "{who} told {whom} the secret of {topic}",
    Kind.PROMISE: "{who} promised {whom} to {deed}",
    Kind.DISGUISE: "{who} became {alias}",
    Kind.MARRY: "{who} married {whom}",
    Kind.LEAVE: "{who} went away for good",
}


def called(log: Log, person: int, alias: int) -> str:
    """What the text calls someone: the alias if there is one, else the name."""
    return log.people[person].name if alias == NONE else log.aliases[alias].name


def slots(log: Log, event: Event) -> dict[str, str]:
    """What the names in an event's templates stand for."""
    values = {"who": called(log, event.who, event.who_alias), "trade": "", "at": ""}
    if event.whom != NONE:
        values["whom"] = called(log, event.whom, event.whom_alias)
    if event.thing != NONE:
        values["thing"] = log.things[event.thing].name
    if event.place != NONE:
        values["place"] = log.places[event.place].name
        values["at"] = f" at {values['place']}"
    if event.number != NONE:
        values["number"] = number_word(event.number)
    kind = event.kind
    if kind == Kind.ARRIVE:
        values["trade"] = log.people[event.who].trade
    elif kind in (Kind.DISCOVER, Kind.TELL, Kind.OVERHEAR):
        secret = log.secrets[event.what]
        values |= {"topic": secret.topic, "content": secret.content}
    elif kind in (Kind.PROMISE, Kind.KEEP):
        promise = log.promises[event.what]
        values |= {"deed": promise.deed, "done": promise.done}
    elif kind == Kind.DISGUISE:
        alias = log.aliases[event.what]
        values |= {"alias": alias.name, "garment": alias.garment}
    elif kind in (Kind.COUNT, Kind.REMOVE, Kind.ADD):
        values["goods"] = log.stocks[event.what].goods
    return values


def sentence(log: Log, event: Event) -> str:
    """The event as one plain sentence with all names."""
    text = _PLAIN[event.kind].format_map(slots(log, event))
    return f"{text[0].upper()}{text[1:]}."


def clause(log: Log, event: Event, who: str, whom: str) -> str:
    """The event as the name of itself: Mirel married Tolan. Raises KeyError for kinds that have none."""
    return CLAUSES[event.kind].format_map(slots(log, event) | {"who": who, "whom": whom})


def clause_by_name(log: Log, event: Event) -> str:
    """The same with real names, also where the text uses an alias."""
    return clause(log, event, log.people[event.who].name, "" if event.whom == NONE else log.people[event.whom].name)
