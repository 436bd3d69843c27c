"""The novel: what happens, told passage by passage, without end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from longctx.fiction.log import Log
from longctx.fiction.naming import Coiner
from longctx.fiction.prose import Narrator
from longctx.fiction.simulate import Scene, Simulator

__all__ = ["Log", "Passage", "Story", "tell"]

_SCENES_IN_A_CHAPTER = 12


@dataclass(frozen=True, slots=True)
class Passage:
    """One or a few sentences that belong together, on one line."""

    text: str
    events: tuple[int, ...]
    """Ids of the events that this passage states; ids count up from 0 in the order of telling."""
    neutral: bool
    """States nothing about the world: it can be moved anywhere or left out."""


class Story:
    """The story of a seed; iterating tells it. `log` holds the events of the passages given out so far."""

    def __init__(self, seed: int) -> None:
        # Strings seed reproducibly across versions and processes; what happens and how it is told
        # draw from different streams, so that better prose does not change the plot.
        self._rng = random.Random(f"fiction pace {seed}")
        self.log = Log()
        coiner = Coiner(random.Random(f"fiction names {seed}"))
        self._narrator = Narrator(self.log, coiner, random.Random(f"fiction prose {seed}"))
        self._simulator = Simulator(self.log, coiner, self._narrator.phrase, random.Random(f"fiction plot {seed}"))
        self._passages = self._tell()

    def __iter__(self) -> Iterator[Passage]:
        """The passages not given out yet; a second iteration goes on where the first stopped."""
        return self._passages

    def _tell(self) -> Iterator[Passage]:
        for number, scene in enumerate(self._simulator.scenes()):
            if number % _SCENES_IN_A_CHAPTER == 0:
                yield Passage(self._narrator.chapter(), (), neutral=False)
            self._narrator.set_scene()
            yield from self._tell_scene(scene)

    def _tell_scene(self, scene: Scene) -> Iterator[Passage]:
        narrator, chance = self._narrator, self._rng.random
        yield Passage(narrator.neutral("weather"), (), neutral=True)
        for event in scene.events:
            event_id = self.log.append(event)
            yield Passage(narrator.event(event), (event_id,), neutral=False)
            kind = chance()
            if kind < 0.13:
                yield Passage(narrator.neutral("weather"), (), neutral=True)
            elif kind < 0.34:
                yield Passage(narrator.neutral("thought"), (), neutral=True)
            elif kind < 0.58:
                yield Passage(narrator.neutral("anecdote"), (), neutral=True)
            elif kind < 0.96:
                here = [one for one in scene.people if self._simulator.world.place_of.get(one) == scene.place]
                if here:
                    people = self._rng.sample(here, k=min(1 if chance() < 0.4 else 2, len(here)))
                    yield Passage(narrator.colour(people), (), neutral=False)
        for rule in ("thought", "anecdote"):
            yield Passage(narrator.neutral(rule), (), neutral=True)


def tell(seed: int) -> Iterator[Passage]:
    """The story of a seed: endless, and always the same."""
    return iter(Story(seed))
