"""The events told so far and all that they mention. Compact: an event is nine 32-bit numbers."""

from __future__ import annotations

import dataclasses
import json
from array import array
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from longctx.fiction.events import Alias, Event, Kind, Person, Place, Promise, Secret, Stock, Thing

FIELDS = tuple(field.name for field in dataclasses.fields(Event))
_TABLES: dict[str, type] = {
    "people": Person,
    "places": Place,
    "things": Thing,
    "aliases": Alias,
    "secrets": Secret,
    "promises": Promise,
    "stocks": Stock,
}
_FORMAT = 1
Entity = TypeVar("Entity", Person, Place, Thing, Alias, Secret, Promise, Stock)


class Log:
    """Events by id, counted from 0 in the order of telling, and the tables that their fields point into."""

    def __init__(self) -> None:
        self.people: list[Person] = []
        self.places: list[Place] = []
        self.things: list[Thing] = []
        self.aliases: list[Alias] = []
        self.secrets: list[Secret] = []
        self.promises: list[Promise] = []
        self.stocks: list[Stock] = []
        self._columns = {name: array("i") for name in FIELDS}

    def __len__(self) -> int:
        return len(self._columns["kind"])

    def __getitem__(self, event_id: int) -> Event:
        """The event; raises IndexError for one that has not been told."""
        if not 0 <= event_id < len(self):
            raise IndexError(f"no event {event_id} in a log of {len(self)}")
        kind, *rest = (column[event_id] for column in self._columns.values())
        return Event(Kind(kind), *rest)

    def append(self, event: Event) -> int:
        """Adds an event and returns its id."""
        for name, column in self._columns.items():
            column.append(getattr(event, name))
        return len(self) - 1

    def column(self, name: str) -> NDArray[np.int32]:
        """A copy of one field of all events, shape (num_events,)."""
        return np.array(self._columns[name], dtype=np.int32)

    def statement(self, event_id: int) -> str:
        """The event as one plain sentence with all names, to stand in any other text."""
        from longctx.fiction.statements import sentence

        return sentence(self, self[event_id])

    def save(self, path: Path) -> None:
        """Writes JSON lines: the format, the tables, then one array of numbers for each event."""
        with path.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"format": _FORMAT, "fields": FIELDS}) + "\n")
            for name in _TABLES:
                rows = [list(dataclasses.astuple(entity)) for entity in getattr(self, name)]
                file.write(json.dumps({name: rows}, ensure_ascii=False) + "\n")
            file.writelines(json.dumps(row) + "\n" for row in zip(*self._columns.values(), strict=True))

    @classmethod
    def load(cls, path: Path) -> Log:
        """The log that `save` wrote; raises ValueError if the file is not one."""
        log = cls()
        with path.open(encoding="utf-8") as file:
            head: Any = json.loads(file.readline() or "null")
            if not isinstance(head, dict) or head.get("format") != _FORMAT:
                raise ValueError(f"{path} is not an event log of format {_FORMAT}")
            for name, record in _TABLES.items():
                getattr(log, name).extend(record(*row) for row in json.loads(file.readline())[name])
            for line in file:
                for column, value in zip(log._columns.values(), json.loads(line), strict=True):
                    column.append(value)
        return log


def add(table: list[Entity], entity: Entity) -> int:
    """Adds a row to one of the tables and returns its id."""
    table.append(entity)
    return len(table) - 1
