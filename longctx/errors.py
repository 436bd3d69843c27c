"""Every error a person can cause, as one tree; the command line prints the message and exits with 2.

LongctxError
├── ConfigError      a value, key, name or folder that was asked for is not legal
│   └── UnknownNameError  a name that is not one of a known set; offers the near ones
├── BudgetError      a prompt cannot be built to its context length
├── SpliceError      a tokenizer merges across a place where text was to be joined
├── ModelError       a model's files are missing, damaged, or of a kind that cannot be driven
├── RankError        a process of several that hold one model together failed
├── SpentError       the budget of requests, tokens or money is used up
└── StoreError       a run folder cannot be read, written or shared
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LongctxError(Exception):
    """Base of all errors that longctx raises on purpose."""


class ConfigError(LongctxError):
    """A requested value, key or folder is not legal."""


class UnknownNameError(ConfigError):
    """`name` is not a legal `kind`; the message offers near names, then all of them."""

    def __init__(self, kind: str, name: str, legal: Iterable[str]) -> None:
        known = sorted(legal)
        longer = [other for other in known if name and other.startswith(name)]
        near = longer or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(known) or 'none'}.")


class BudgetError(LongctxError):
    """A prompt cannot be built to its context length."""


class SpliceError(LongctxError):
    """A tokenizer merges across a place where text was to be joined."""


class ModelError(LongctxError):
    """A model's files are missing, damaged, or of a kind that cannot be driven."""


class RankError(LongctxError):
    """A process of several that hold one model together failed; the others cannot go on without it."""


class StoreError(LongctxError):
    """A run folder cannot be read, written or shared."""


class SpentError(LongctxError):
    """The budget of requests, prompt tokens or money is used up; what is finished is kept."""
