"""What can be compared: a source takes prompts and says what it would, greedily and by chance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from longctx.backends.endpoint.content import cut_at_stop
from longctx.compare.records import Go, Probe, Said, Taken
from longctx.records import Prompt
from longctx.tasks import parse_task

TOP_LOGPROBS = 5


class Source(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> Mapping[str, Any]: ...

    def greedy(self, prompt: Prompt) -> Said:
        """The most probable completion, token by token, with log-probabilities where the source has them."""
        ...

    def draw(self, prompt: Prompt, num_samples: int, seed: int) -> tuple[str, ...]:
        """Completions at temperature 1; fewer where some failed."""
        ...


def draw_seed(seed: int, go: Go, probe: str) -> int:
    """The seed of one probe's samples in one go: no two goes draw alike."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{go}/{probe}".encode()).digest()[:4], "big")


def take(source: Source, probes: Sequence[Probe], num_samples: int, seed: int, go: Go) -> Iterator[Taken]:
    """What `source` says on each probe, in their order."""
    for probe in probes:
        prompt = probe.question.prompt
        answer = source.greedy(prompt)
        score = None
        if not answer.failed:  # who says nothing is wrong, as in a sweep
            task = parse_task(probe.question.cell.task)
            score = task.judge(cut_at_stop([answer.text], prompt.stop), probe.question).value
        samples: tuple[str, ...] = ()
        if num_samples:
            samples = source.draw(probe.open_ended, num_samples, draw_seed(seed, go, probe.question.id))
        yield Taken(probe.question.id, probe.length, score, answer, source.greedy(probe.open_ended), samples)
