"""What goes through a comparison: probes, what a source said on each, what a test found, the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from longctx.backends.endpoint.protocol import TokenLogprob
from longctx.records import Prompt, Sample, Status

Outcome = Literal["none", "difference", "unclear"]
Go = Literal["first", "second", "other"]
"""A pass over all probes: A is asked in two, B in one."""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """One text with a question that has a right answer, and with a request that has none."""

    length: int
    question: Sample
    open_ended: Prompt


@dataclass(frozen=True, slots=True)
class Said:
    """One completion; without text unless its status is ok."""

    status: Status
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether there is no completion; an empty one is one."""
        return self.status not in ("ok", "empty")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Said:
        """What `dataclasses.asdict` made these values of."""
        return cls(values["status"], values["text"], tuple(TokenLogprob(**one) for one in values["logprobs"]))


@dataclass(frozen=True, slots=True)
class Taken:
    """What a source said on one probe, in one go."""

    probe: str
    """Id of the probe's question."""
    length: int
    score: float | None
    """Of the greedy answer to the question; None if there was none."""
    answer: Said
    greedy: Said
    """The most probable continuation of the open-ended prompt, token by token."""
    samples: tuple[str, ...]
    """Continuations drawn at temperature 1."""

    def is_whole(self, num_samples: int) -> bool:
        """Whether nothing failed, with so many samples asked for."""
        return not self.answer.failed and not self.greedy.failed and len(self.samples) == num_samples

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Taken:
        """What `dataclasses.asdict` made these values of."""
        said = {name: Said.from_json(values[name]) for name in ("answer", "greedy")}
        return cls(**{**values, **said, "samples": tuple(values["samples"])})


@dataclass(frozen=True, slots=True)
class Finding:
    """One test at one length."""

    test: str
    length: int
    num: int
    """Probes that both sides answered."""
    effect: float
    low: float
    high: float
    """Ends of the effect's 95 % interval."""
    unit: str
    """What the effect is."""
    p: float
    p_corrected: float | None = None
    """After Holm, over all tests and lengths."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that the page shows."""

    name_a: str
    name_b: str
    fingerprint_a: Mapping[str, object]
    fingerprint_b: Mapping[str, object]
    alpha: float
    findings: tuple[Finding, ...]
    """Of A against B."""
    floor: tuple[Finding, ...]
    """Of A against itself; empty where A was taken once."""
    num_probes: int
    num_failed: int
    """Completions without text, of both sides."""
    outcome: Outcome
    reasons: tuple[str, ...]
    """Why nothing could be told; empty otherwise."""
    examples: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Greedy continuations of the same prompt by A and B that differ, the first few."""

    @property
    def shown(self) -> tuple[Finding, ...]:
        """The findings that hold after the correction."""
        return tuple(f for f in self.findings if f.p_corrected is not None and f.p_corrected < self.alpha)
