"""The events told so far and all that they mention. Compact: an event is nine 32-bit numbers."""

from __future__ import annotations

import dataclasses
import json
from array import array
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

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
_FORMAT = 2
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
        """Writes an .npz file: the tables as JSON, and one row of numbers for each event."""
        tables = {name: [dataclasses.astuple(entity) for entity in getattr(self, name)] for name in _TABLES}
        described = json.dumps({"format": _FORMAT, "fields": FIELDS, "tables": tables}, ensure_ascii=False)
        events = np.stack([self.column(name) for name in FIELDS], axis=1)
        np.savez(path, described=np.frombuffer(described.encode(), dtype=np.uint8), events=events)

    @classmethod
    def load(cls, path: Path) -> Log:
        """The log that `save` wrote; raises ValueError if the file is not one."""
        log = cls()
        try:
            with np.load(path, allow_pickle=False) as file:
                described, events = json.loads(file["described"].tobytes()), file["events"]
        except (KeyError, ValueError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path} is not an event log: {error}") from error
        if described.get("format") != _FORMAT or tuple(described["fields"]) != FIELDS:
            raise ValueError(f"{path} is not an event log of format {_FORMAT}")
        for name, record in _TABLES.items():
            getattr(log, name).extend(record(*row) for row in described["tables"][name])
        for name, column in zip(FIELDS, np.ascontiguousarray(events.T, dtype=np.int32), strict=True):
            log._columns[name] = array("i", column.tobytes())
        return log


def add(table: list[Entity], entity: Entity) -> int:
    """Adds a row to one of the tables and returns its id."""
    table.append(entity)
    return len(table) - 1
