"""What a comparison took, kept as it comes: the folder of a run, with a line for each probe of each pass.

taken.jsonl is append-only, as a run's rows are. A probe of which something failed and that was asked again has two
lines; the later one counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from longctx.compare.judge import Side
from longctx.compare.records import Go, Probe, Taken
from longctx.compare.source import Source, take
from longctx.store import RunFolder, read_lines, read_manifest

FILE = "taken.jsonl"
SIDE_OF: Mapping[Go, str] = {"first": "a", "second": "a", "other": "b"}
"""Which side each pass asks, in their order."""

Kept: TypeAlias = dict[tuple[Go, str], Taken]
"""By pass and probe."""


def read_kept(folder: Path) -> Kept:
    """All that was taken so far; raises StoreError for a damaged line."""
    path = folder / FILE
    return dict(read_lines(path, _from_json)) if path.exists() else {}


def _from_json(values: Mapping[str, Any]) -> tuple[tuple[Go, str], Taken]:
    taken = Taken.from_json(values["taken"])
    return (values["go"], taken.probe), taken


def left(probes: Sequence[Probe], num_samples: int, kept: Kept) -> dict[Go, list[Probe]]:
    """What each pass has still to ask: probes that were never taken, and those of which something failed."""
    done = {key for key, taken in kept.items() if taken.is_whole(num_samples)}
    return {go: [probe for probe in probes if (go, probe.question.id) not in done] for go in SIDE_OF}


def describe_sources(sources: Mapping[str, Source]) -> dict[str, Any]:
    """What sources say of themselves, by side. A comparison whose sources say otherwise by now is another one."""
    return {side: {"name": source.name, "fingerprint": dict(source.fingerprint)} for side, source in sources.items()}


def take_all(
    sources: Mapping[str, Source], todo: Mapping[Go, Sequence[Probe]], num_samples: int, seed: int, folder: RunFolder
) -> Iterator[Taken]:
    """Ask `sources`, by side, all that is left to do, pass by pass. What comes back is in the folder by then."""
    for go, probes in todo.items():
        for taken in take(sources[SIDE_OF[go]], probes, num_samples, seed, go):
            folder.append_line({"go": go, "taken": dataclasses.asdict(taken)})
            yield taken


def read_passes(folder: Path, probes: Sequence[Probe]) -> tuple[Side, Side, Side]:
    """A's two passes and B's, of a folder in which nothing is left to do; raises StoreError."""
    kept, described = read_kept(folder), read_manifest(folder)["sources"]
    sides = []
    for go, side in SIDE_OF.items():
        taken = [kept[go, probe.question.id] for probe in probes]
        sides.append(Side(described[side]["name"], described[side]["fingerprint"], taken))
    first, second, other = sides
    return first, second, other
