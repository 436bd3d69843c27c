"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["passes", "differs", "warns", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    name: str
    """What was checked."""
    where: str
    """Layers, a position, a boundary."""
    verdict: Verdict
    figure: str
    """What was measured, with its unit; empty for what was skipped."""
    meaning: str
    """One line for the reader: for what differs, whose fault it is."""
