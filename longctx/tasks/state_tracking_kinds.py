"""The fifteen kinds of stories that state_tracking tells, each with its question.

A kind is a function from a cast and a number of distractors to a Story; its answer follows from the order of the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from longctx.haystack.lexicon import load_lexicon
from longctx.tasks.state_tracking_cast import Cast, Person, Story, Told

_TIMES = ("Yesterday", "This morning", "This afternoon", "This evening")
_DIRECTIONS = ("north", "east", "south", "west")
NUMBERS = ("none", "one", "two", "three", "four")
VERDICTS = ("yes", "no", "maybe")
NOTHING = "nothing"


def _in_room(cast: Cast, main: Told, extras: Sequence[str], who: object, target: str, question: str) -> Story:
    facts, support = cast.told(main, extras)
    return Story(facts, support, question, f"{who} is in the", target, tuple(cast.words["rooms"]))


def where_person(cast: Cast, distractors: int) -> Story:
    """Where is somebody: the latest move counts."""
    own, others = cast.split(distractors)
    path = cast.path(own + 1)
    main = [(cast.move(cast.hero, room), False) for room in path[:-1]] + [(cast.move(cast.hero, path[-1]), True)]
    return _in_room(cast, main, cast.other_moves(others), cast.hero, path[-1], f"Where is {cast.hero}?")


def where_object(cast: Cast, distractors: int) -> Story:
    """Where is something that somebody took along, and perhaps left behind."""
    own, others = cast.split(distractors)
    label = cast.some("objects")
    path = cast.path(own + 2)
    main = [(cast.move(cast.hero, room), False) for room in path[:own]]
    main += [(cast.take(cast.hero, label), True), (cast.move(cast.hero, path[own]), True)]
    if cast.rng.random() < 0.5:
        main += [(cast.drop(cast.hero, label), True), (cast.move(cast.hero, path[own + 1]), False)]
    free = [other for other in cast.words["objects"] if other != label]
    extras = [
        cast.take(cast.other(), free.pop()) if free and cast.rng.random() < 0.3 else move
        for move in cast.other_moves(others)
    ]
    return _in_room(cast, main, extras, _upper(cast.thing(label)), path[own], f"Where is {cast.thing(label)}?")


def where_before(cast: Cast, distractors: int) -> Story:
    """Where was something one room earlier."""
    own, others = cast.split(distractors)
    label = cast.some("objects")
    path = cast.path(own + 2)
    early = cast.rng.randint(0, own)
    main = [(cast.move(cast.hero, room), False) for room in path[:early]]
    main.append((cast.take(cast.hero, label), True))
    main += [(cast.move(cast.hero, room), False) for room in path[early:-2]]
    main += [(cast.move(cast.hero, room), True) for room in path[-2:]]
    facts, support = cast.told(main, cast.other_moves(others))
    question = f"Where was {cast.thing(label)} just before it came to the room where it is now?"
    return Story(facts, support, question, "It was in the", path[-2], tuple(cast.words["rooms"]))


def relation(cast: Cast, distractors: int) -> Story:
    """What lies north of something; every fact may be told from either side."""
    landmark, *elsewhere = cast.rng.sample(cast.words["landmarks"], len(cast.words["landmarks"]))
    buildings = cast.rng.sample(cast.words["buildings"], len(cast.words["buildings"]))
    directions = cast.rng.sample(_DIRECTIONS, 4)
    # No building stands by two landmarks of which one is the asked one: nothing follows by way of a third place.
    near = [(building, direction, landmark) for building, direction in zip(buildings, directions, strict=False)]
    far = [(building, cast.rng.choice(_DIRECTIONS), cast.rng.choice(elsewhere)) for building in buildings[4:]]
    extras = cast.rng.sample(near[1:] + far, min(distractors, len(near[1:] + far)))
    facts, support = cast.told([(_lies(cast, *near[0]), True)], [_lies(cast, *fact) for fact in extras])
    question = f"In {cast.family}, which building is {directions[0]} of the {landmark}?"
    return Story(facts, support, question, "It is the", buildings[0], tuple(cast.words["buildings"]))


def _lies(cast: Cast, building: str, direction: str, landmark: str) -> str:
    if cast.rng.random() < 0.5:
        return f"In {cast.family}, the {building} is {direction} of the {landmark}."
    opposite = _DIRECTIONS[(_DIRECTIONS.index(direction) + 2) % 4]
    return f"In {cast.family}, the {landmark} is {opposite} of the {building}."


def who_gave(cast: Cast, distractors: int) -> Story:
    """Who gave what to whom: three things that must fit together."""
    label, role = cast.some("objects"), cast.some("roles")

    def give(who: Person, what: str, whom: str) -> str:
        return f"{who} {cast.some('gives')} {cast.thing(what)} to the {whom}."

    def trap() -> str:
        kind = cast.rng.randrange(3)
        if kind == 0:
            return f"{cast.other()} showed {cast.thing(label)} to the {role}."
        if kind == 1:
            return give(cast.other(), cast.another("objects", label), role)
        return give(cast.hero, cast.another("objects", label), cast.another("roles", role))

    facts, support = cast.told([(give(cast.hero, label, role), True)], [trap() for _ in range(distractors)])
    names = load_lexicon("characters")
    question = f"Who gave {cast.thing(label)} to the {role}?"
    return Story(facts, support, question, "It was", cast.hero.given, tuple(names["women"] + names["men"]))


def _yes_or_no(cast: Cast, main: Told, extras: Sequence[str], room: str, target: str, num_verdicts: int) -> Story:
    facts, support = cast.told(main, extras)
    return Story(facts, support, f"Is {cast.hero} in the {room}?", "", target, VERDICTS[:num_verdicts])


def yes_no(cast: Cast, distractors: int) -> Story:
    """Is somebody in a room, by the latest move."""
    own, others = cast.split(distractors)
    path = cast.path(own + 1)
    target = cast.rng.choice(("yes", "no"))
    room = path[-1] if target == "yes" else cast.another("rooms", path[-1])
    main = [(cast.move(cast.hero, place), False) for place in path[:-1]] + [(cast.move(cast.hero, path[-1]), True)]
    return _yes_or_no(cast, main, cast.other_moves(others), room, target, 2)


def negation(cast: Cast, distractors: int) -> Story:
    """The same where facts may say that somebody is no longer there."""
    own, others = cast.split(distractors)
    target = cast.rng.choice(("yes", "no"))
    gone = target == "no" and cast.rng.random() < 0.5
    path = cast.path(own + 1)
    main = [(_stays(cast, cast.hero, room), False) for room in path[:-1]]
    main.append((_stays(cast, cast.hero, path[-1], gone=gone), True))
    room = path[-1] if gone or target == "yes" else cast.another("rooms", path[-1])
    extras = [_stays(cast, cast.other(), cast.some("rooms"), gone=cast.rng.random() < 0.5) for _ in range(others)]
    return _yes_or_no(cast, main, extras, room, target, 2)


def _stays(cast: Cast, who: Person, room: str, *, gone: bool = False) -> str:
    return f"{who} is {'no longer' if gone else cast.rng.choice(('now', 'back'))} in the {room}."


def indefinite(cast: Cast, distractors: int) -> Story:
    """The same where facts may leave it open which of two rooms it is."""
    own, others = cast.split(distractors)

    def vague(who: Person, rooms: list[str]) -> str:
        return f"{who} is either in the {rooms[0]} or in the {rooms[1]}."

    def either(who: Person) -> str:
        return vague(who, cast.path(2)) if cast.rng.random() < 0.5 else _stays(cast, who, cast.some("rooms"))

    target = cast.rng.choice(VERDICTS)
    rooms = cast.path(2)
    if target == "maybe" or (target == "no" and cast.rng.random() < 0.5):
        last = vague(cast.hero, rooms)
        asked = cast.rng.choice(rooms) if target == "maybe" else cast.another("rooms", *rooms)
    else:
        last = _stays(cast, cast.hero, rooms[0])
        asked = rooms[0] if target == "yes" else cast.another("rooms", rooms[0])
    main = [(either(cast.hero), False) for _ in range(own)] + [(last, True)]
    return _yes_or_no(cast, main, [either(cast.other()) for _ in range(others)], asked, target, 3)


def _carried(cast: Cast, distractors: int) -> tuple[tuple[str, ...], tuple[int, ...], list[str]]:
    """A story of taking and leaving, with what the hero holds in the end."""
    own, others = cast.split(distractors)
    held: list[str] = []
    free = cast.rng.sample(cast.words["objects"], len(cast.words["objects"]))
    main: Told = []
    for _ in range(cast.rng.randint(1, 3) + own):
        if held and (len(held) == len(NUMBERS) - 1 or cast.rng.random() < 0.4):
            label = cast.rng.choice(held)
            held.remove(label)
            main.append((cast.drop(cast.hero, label), True))
        elif free:
            label = free.pop()
            held.append(label)
            main.append((cast.take(cast.hero, label), True))
    extras = [cast.take(cast.other(), free.pop()) if free else move for move in cast.other_moves(others)]
    return (*cast.told(main, extras), held)


def counting(cast: Cast, distractors: int) -> Story:
    """How many things somebody holds after taking and leaving some."""
    facts, support, held = _carried(cast, distractors)
    return Story(facts, support, f"How many things is {cast.hero} carrying?", "", NUMBERS[len(held)], NUMBERS)


def lists(cast: Cast, distractors: int) -> Story:
    """Which things somebody holds after taking and leaving some."""
    facts, support, held = _carried(cast, distractors)
    labels = (*cast.words["objects"], NOTHING)
    return Story(facts, support, f"What is {cast.hero} carrying?", "", ", ".join(held) or NOTHING, labels)


def pronouns(cast: Cast, distractors: int) -> Story:
    """A second move is told of he or she, right after the first."""
    own, others = cast.split(distractors)

    def twice(who: Person) -> tuple[str, str]:
        first, second = cast.path(2)
        return f"{cast.move(who, first)} After that {cast.move(who.pronoun, second)}", second

    *early, (last, target) = [twice(cast.hero) for _ in range(own + 1)]
    main = [(text, False) for text, _ in early] + [(last, True)]
    extras = [twice(cast.other())[0] for _ in range(others)]
    return _in_room(cast, main, extras, cast.hero, target, f"Where is {cast.hero}?")


def conjunction(cast: Cast, distractors: int) -> Story:
    """Two people move together, with others at other times."""
    return _together(cast, distractors, again=False)


def pairs(cast: Cast, distractors: int) -> Story:
    """Two people move together, and a second move is told of them as they."""
    return _together(cast, distractors, again=True)


def _together(cast: Cast, distractors: int, *, again: bool) -> Story:
    own, others = cast.split(distractors)

    def both(one: Person, two: Person) -> tuple[str, str]:
        first, second = cast.path(2)
        who = cast.rng.sample((one, two), 2)
        text = cast.move(f"{who[0]} and {who[1]}", first)
        return (f"{text} Then {cast.move('they', second)}", second) if again else (text, first)

    *early, (last, target) = [both(cast.hero, cast.other()) for _ in range(own + 1)]
    main = [(text, False) for text, _ in early] + [(last, True)]
    extras = [both(*cast.rng.sample(cast.others, 2))[0] for _ in range(others)]
    return _in_room(cast, main, extras, cast.hero, target, f"Where is {cast.hero}?")


def time_words(cast: Cast, distractors: int) -> Story:
    """Facts name their times and are told in any order."""
    chosen = sorted(cast.rng.sample(range(len(_TIMES)), 3))
    rooms = cast.rng.sample(cast.words["rooms"], 3)

    def visit(time: int, who: Person, room: str) -> str:
        return f"{_TIMES[time]} {cast.move(who, room)}"

    main = [(visit(time, cast.hero, room), True) for time, room in zip(chosen, rooms, strict=True)]
    cast.rng.shuffle(main)
    extras = [visit(cast.rng.randrange(4), cast.other(), cast.some("rooms")) for _ in range(distractors)]
    facts, support = cast.told(main, extras)
    place = cast.rng.choice((1, 2))
    question = f"To which room did {cast.hero} go last before {_TIMES[chosen[place]].lower()}?"
    return Story(facts, support, question, "To the", rooms[place - 1], tuple(cast.words["rooms"]))


def motivation(cast: Cast, distractors: int) -> Story:
    """Why somebody went somewhere: for what was said of him or her before."""
    own, others = cast.split(distractors)
    count = 1 + min(own, len(cast.words["rooms"]) - 1)
    rooms = cast.rng.sample(cast.words["rooms"], count)
    motives = [cast.some("motives") for _ in rooms]
    asked = cast.rng.randrange(count)
    main: Told = []
    for place, (room, motive) in enumerate(zip(rooms, motives, strict=True)):
        main += [(f"{cast.hero} was {motive}.", place == asked), (cast.move(cast.hero, room), place == asked)]
    extras = [
        f"{cast.other()} was {cast.some('motives')}." if cast.rng.random() < 0.5 else move
        for move in cast.other_moves(others)
    ]
    facts, support = cast.told(main, extras)
    question = f"Why did {cast.hero} go to the {rooms[asked]}?"
    prefix = f"Because {cast.hero.pronoun} was"
    return Story(facts, support, question, prefix, motives[asked], tuple(cast.words["motives"]))


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


KINDS: dict[str, Callable[[Cast, int], Story]] = {
    kind.__name__: kind
    for kind in (
        where_person,
        where_object,
        where_before,
        relation,
        who_gave,
        yes_no,
        counting,
        lists,
        negation,
        indefinite,
        pronouns,
        conjunction,
        pairs,
        time_words,
        motivation,
    )
}
