"""Word lists, from the TOML files in `haystacks/`."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

Lexicon = dict[str, list[str]]


def lexicon_file(name: str) -> Traversable:
    """`haystacks/<name>.toml`: beside the package in a checkout, inside it in a wheel."""
    checkout = Path(__file__).parents[2] / "haystacks" / f"{name}.toml"
    return checkout if checkout.exists() else resources.files("longctx.haystack") / "lists" / f"{name}.toml"


@cache
def load_lexicon(name: str) -> Lexicon:
    """The word lists of `haystacks/<name>.toml`."""
    return tomllib.loads(lexicon_file(name).read_text(encoding="utf-8"))
