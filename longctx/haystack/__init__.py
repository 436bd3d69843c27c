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
    """Where sentences come from, each one line. A generator's start with a capital letter and end with a stop."""

    name: str
    digest: str
    """Changes whenever the sentences would."""
    sentences: Callable[[int], Iterator[str]]
    """seed -> sentences, without end or until it runs dry."""
    seeded: bool = True
    """Whether another seed gives other sentences. If not, there is one text: all of it once, whatever the seed."""
    documents: Callable[[], Iterator[Iterator[str]]] | None = None
    """The same sentences by document, where the text consists of documents."""


# Generators: module, function, and the word lists that with the module's folder or file decide every sentence.
_GENERATORS = {
    "narrator": ("longctx.haystack.narrator", "narrate", "narrator.toml"),
    "fiction": ("longctx.fiction.text", "sentences", "fiction_*.toml"),
    "noise": ("longctx.haystack.noise", "repeat_noise", ""),
    "needles_words": ("longctx.haystack.needles", "needles_words", "ruler_words.toml"),
    "needles_uuids": ("longctx.haystack.needles", "needles_uuids", "ruler_words.toml"),
    "requests": ("longctx.haystack.requests", "exchanges", "requests.toml"),
    "edges": ("longctx.haystack.edges", "edges", ""),
}


def get_source(name: str) -> Source:
    """The source called `name`, or written as `files:...` or `mix:...`; raises ConfigError."""
    if name not in _GENERATORS:
        return _get_corpus(name)
    module_name, function, lists = _GENERATORS[name]
    module = importlib.import_module(module_name)
    return Source(name, _digest(Path(str(module.__file__)), lists), getattr(module, function))


def _get_corpus(name: str) -> Source:
    """Text that is there already: files, Python's own, a fetched recipe, a mix."""
    from longctx.haystack.corpus import files_source
    from longctx.haystack.mix import mix_source
    from longctx.haystack.python_library import python_source
    from longctx.haystack.recipes import recipe_names, recipe_source

    if name.startswith("files:"):
        return files_source(name)
    if name.startswith("mix:"):
        return mix_source(name)
    if name in ("python", "python-docs"):
        return python_source(name)
    if name in recipe_names():
        return recipe_source(name)
    legal = [*_GENERATORS, "python", "python-docs", *recipe_names(), "files:FOLDER_OR_GLOB", "mix:A=0.7,B=0.3"]
    raise UnknownNameError("haystack", name, legal)


def _digest(module_file: Path, lists: str) -> str:
    """Hash of a generator's code and of its word lists."""
    from longctx.haystack.lexicon import lists_folder

    alone = module_file.parent.name == "haystack"
    code = [module_file] if alone else module_file.parent.glob("*.py")
    found = hashlib.sha256()
    for file in sorted([*code, *(lists_folder().glob(lists) if lists else [])]):
        found.update(file.read_bytes())
    return found.hexdigest()[:16]
