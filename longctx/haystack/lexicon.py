"""Word lists, from the TOML files in `haystacks/`."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

Lexicon = dict[str, list[str]]


def lists_folder() -> Path:
    """`haystacks/`: beside the package in a checkout, inside it in a wheel."""
    checkout = Path(__file__).parents[2] / "haystacks"
    return checkout if checkout.exists() else Path(__file__).parent / "lists"


def lexicon_file(name: str) -> Path:
    return lists_folder() / f"{name}.toml"


@cache
def load_lexicon(name: str) -> Lexicon:
    """The word lists of `haystacks/<name>.toml`."""
    return tomllib.loads(lexicon_file(name).read_text(encoding="utf-8"))
