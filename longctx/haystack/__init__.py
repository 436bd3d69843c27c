"""Sources of filler text, by name. A source yields sentences for a seed, without end or until it runs dry."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from longctx.errors import UnknownNameError

Source = Callable[[int], Iterator[str]]
"""seed -> sentences, each one line that starts with a capital letter and ends with . ! or ?"""


def _narrator() -> Source:
    from longctx.haystack.narrator import narrate

    return narrate


_SOURCES: dict[str, Callable[[], Source]] = {"narrator": _narrator}


def get_source(name: str) -> Source:
    """The source called `name`; raises UnknownNameError."""
    if name not in _SOURCES:
        raise UnknownNameError("haystack", name, _SOURCES)
    return _SOURCES[name]()
