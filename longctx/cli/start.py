"""How a sweep is started: what decides where and how far it runs, not what it measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longctx.sweep.shard import Shard


@dataclass(frozen=True, slots=True)
class Start:
    shard: Shard
    out: Path | None
    dry_run: bool
    asks: bool
    """Whether a plan of many hours asks first."""
    budget: str | None
    """Of an adaptive sweep."""

    def folder(self, model: str, digest: str) -> Path:
        """The run folder; without one that was named, one by the model and the hash of its config."""
        return self.out or Path("runs") / f"{model.replace('/', '--')}-{digest}"
