"""The story as plain sentences, for tasks that only need text."""

from __future__ import annotations

from collections.abc import Iterator

from longctx.fiction.story import tell


def sentences(seed: int) -> Iterator[str]:
    """The text of every passage, in order, without end."""
    return (passage.text for passage in tell(seed))
