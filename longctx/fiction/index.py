"""Which events are about what, so that a question need not read the whole log."""

from __future__ import annotations

from collections.abc import Collection
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from longctx.fiction.events import CLAIMS, NONE, OF_SECRETS, OF_STOCKS, WHEREABOUTS, Kind
from longctx.fiction.log import FIELDS, Log

Ids = NDArray[np.int64]


class Postings:
    """For each key the ascending ids of its events."""

    def __init__(self, keys: NDArray[np.int32], ids: Ids) -> None:
        known = keys != NONE
        order = np.lexsort((ids[known], keys[known]))
        self._ids = ids[known][order]
        sorted_keys = keys[known][order]
        self._starts = np.searchsorted(sorted_keys, np.arange(sorted_keys.max(initial=NONE) + 2))

    def before(self, key: int, end: int) -> list[int]:
        """Ids of the events of `key` that come before the event `end`."""
        if not 0 <= key < len(self._starts) - 1:
            return []
        ids = self._ids[self._starts[key] : self._starts[key + 1]]
        return ids[: int(np.searchsorted(ids, end))].tolist()  # type: ignore[no-any-return]


class Index:
    """Of a log as it was when this was made."""

    def __init__(self, log: Log) -> None:
        columns = {name: log.column(name) for name in FIELDS}
        ids = np.arange(len(log), dtype=np.int64)
        self.num_events = len(log)
        kind, who, whom = columns["kind"], columns["who"], columns["whom"]

        def of(kinds: Collection[Kind]) -> NDArray[np.bool_]:
            return np.isin(kind, list(kinds))

        def by(name: str, kinds: Collection[Kind]) -> Postings:
            chosen = of(kinds)
            return Postings(columns[name][chosen], ids[chosen])

        standing = ((columns["place"] != NONE) & ~of(CLAIMS)) | of([Kind.LEAVE])
        self.stands = Postings(
            np.concatenate([who[standing], whom[standing]]), np.concatenate([ids[standing], ids[standing]])
        )
        """By person: events that say where he or she is, or that he or she has left."""
        self.names = Postings(np.concatenate([who, whom]), np.concatenate([ids, ids]))
        """By person: all events with him or her in them."""
        self.whereabouts = by("thing", WHEREABOUTS)
        self.of_thing = by("thing", list(Kind))
        self.of_secret = by("what", OF_SECRETS)
        self.of_stock = by("what", OF_STOCKS)
        self.promises = by("who", [Kind.PROMISE, Kind.KEEP])
        self.disguises = by("who", [Kind.DISGUISE])
        self.marriages = Postings(
            np.concatenate([who[kind == Kind.MARRY], whom[kind == Kind.MARRY]]),
            np.concatenate([ids[kind == Kind.MARRY], ids[kind == Kind.MARRY]]),
        )
        self.places = columns["place"]
        """By event, as in the log."""
        self.ids_of_kind = {one: ids[kind == one] for one in Kind}


_INDEXES: WeakKeyDictionary[Log, Index] = WeakKeyDictionary()


def index_of(log: Log) -> Index:
    """The index of the log, made anew when the log has grown."""
    index = _INDEXES.get(log)
    if index is None or index.num_events != len(log):
        index = _INDEXES[log] = Index(log)
    return index
