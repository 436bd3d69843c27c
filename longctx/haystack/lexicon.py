"""Word lists, from the TOML files in `haystacks/`."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path

Lexicon = dict[str, list[str]]


@cache
def load_lexicon(name: str) -> Lexicon:
    """The word lists of `haystacks/<name>.toml`: beside the package in a checkout, inside it in a wheel."""
    checkout = Path(__file__).parents[2] / "haystacks" / f"{name}.toml"
    installed = resources.files("longctx.haystack") / f"{name}.toml"
    return tomllib.loads((checkout if checkout.exists() else installed).read_text(encoding="utf-8"))
