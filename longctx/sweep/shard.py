"""A sweep in parts, for several processes or machines: each answers whole documents, and writes rows of its own."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longctx.config import Layout
from longctx.errors import ConfigError
from longctx.records import Sample


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `count`, counted from 1."""

    index: int = 1
    count: int = 1

    @property
    def rows_name(self) -> str:
        """The file in the run folder that this part's rows go to."""
        return "rows.jsonl" if self.count == 1 else f"rows-{self.index}-of-{self.count}.jsonl"

    def pick(self, samples: Sequence[Sample]) -> list[Sample]:
        """This part of `samples`. What shares a document or filler stays together; all parts weigh about the same."""
        groups: dict[tuple[str, int], list[Sample]] = defaultdict(list)
        for sample in samples:
            groups[sample.cell.task, sample.cell.trial].append(sample)
        loads = [0] * self.count
        mine: set[str] = set()
        weights = {key: sum(s.prompt.num_tokens**2 for s in group) for key, group in groups.items()}
        for key in sorted(groups, key=lambda key: (-weights[key], key)):
            part = loads.index(min(loads))
            loads[part] += weights[key]
            if part == self.index - 1:
                mine.update(sample.id for sample in groups[key])
        return [sample for sample in samples if sample.id in mine]


def parse_shard(text: str) -> Shard:
    """`2/4` is the second of four parts; raises ConfigError."""
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text.strip())
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"{text!r} is not a shard: write 1/4, 2/4, 3/4 and 4/4 for four processes.")
    return Shard(int(match[1]), int(match[2]))


def chosen_shard(text: str | None, layout: Layout, environment: Mapping[str, str] = os.environ) -> Shard:
    """The part that `--shard` says, else the one that a launcher gives; all of it where processes share one model.

    Raises ConfigError, also for a launcher whose processes would all spread over the same GPUs.
    """
    launched = launched_shard(environment)
    if layout.device_map is not None and launched.count > 1:
        raise ConfigError(
            f"--device-map takes all GPUs for one process, and {launched.count} were launched. Start one alone, "
            "or let them share the model with --parallel tensor."
        )
    if text is not None:
        return parse_shard(text)
    return launched if layout.parallel == "documents" else Shard()


def launched_shard(environment: Mapping[str, str] = os.environ) -> Shard:
    """The part that `accelerate launch` or `torchrun` gives this process; all of it where neither did."""
    count = int(environment.get("WORLD_SIZE", "1"))
    return Shard(int(environment.get("RANK", "0")) + 1, count)


def launched_device(device: str, environment: Mapping[str, str] = os.environ) -> str:
    """The GPU that a launcher gives this process: one of each for every process; other devices as they are."""
    if device != "cuda" or "LOCAL_RANK" not in environment:
        return device
    return f"cuda:{environment['LOCAL_RANK']}"
