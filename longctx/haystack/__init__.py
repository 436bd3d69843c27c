"""Sources of filler text, by name."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from longctx.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Source:
    """Where sentences come from: each one line that starts with a capital letter and ends a sentence."""

    name: str
    digest: str
    """Changes whenever the sentences would."""
    sentences: Callable[[int], Iterator[str]]
    """seed -> sentences, without end or until it runs dry."""
    repeats: bool = False
    """Whether it says the same again on purpose, or because it was allowed to."""


# Generators: module and function, each in a file that with its word lists decides every sentence.
_GENERATORS = {"narrator": ("longctx.haystack.narrator", "narrate", ("narrator",))}
_REPEATING = ("noise",)


def get_source(name: str) -> Source:
    """The source called `name`; raises UnknownNameError."""
    if name not in _GENERATORS:
        raise UnknownNameError("haystack", name, _GENERATORS)
    module_name, function, lexicons = _GENERATORS[name]
    module = importlib.import_module(module_name)
    return Source(name, _digest(str(module.__file__), lexicons), getattr(module, function), name in _REPEATING)


def _digest(module_file: str, lexicons: tuple[str, ...]) -> str:
    """Hash of a generator's code and of its word lists."""
    from longctx.haystack.lexicon import lexicon_file

    found = hashlib.sha256(Path(module_file).read_bytes())
    for name in lexicons:
        found.update(lexicon_file(name).read_bytes())
    return found.hexdigest()[:16]
