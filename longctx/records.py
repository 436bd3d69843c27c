"""The records that cross module boundaries, in the order the data takes:

Haystack -> Document -> Sample(Prompt, targets) -> Answer -> Score -> Row -> Report

All are frozen; this module imports nothing of ours. Token ids are int32 arrays of shape (num_tokens,).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int32]
Status = Literal["ok", "oom", "error"]
Design = Literal["isolated", "packed"]


@dataclass(frozen=True, slots=True, eq=False)
class Haystack:
    """Filler text of one trial, tokenised. Sentence i is `token_ids[starts[i]:starts[i + 1]]`.

    Every sentence begins with a space and ends where a token ends, so that sentences can be
    taken out, moved and joined without changing any token.
    """

    name: str
    token_ids: TokenIds = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)
    """Token offsets of the sentences, shape (num_sentences + 1,)."""
    texts: tuple[str, ...] = field(repr=False)

    @property
    def num_sentences(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class Item:
    """What a task asks once: one inserted fact, a question about it, and what is right."""

    needle: str
    question: str
    answer_prefix: str
    """Put after the assistant header, so that the model completes it; may be empty."""
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """Address of one sample in the grid of a sweep."""

    task: str
    length: int
    """Context length in tokens: template + document + question + room for the completion."""
    depth: float
    """Asked-for place of the needle: 0.0 is the start of the document, 1.0 its end."""
    trial: int


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A haystack with its needles in place. One document serves every prompt that reads a prefix of it."""

    id: str
    """Hash of the token ids."""
    token_ids: TokenIds = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """head + the first `num_document_tokens` of a document + tail. Carries no targets."""

    id: str
    head_ids: TokenIds
    document: Document
    num_document_tokens: int
    tail_ids: TokenIds
    max_new_tokens: int
    stop: str
    """Regular expression; the completion ends with the first token after which it is found."""

    @property
    def num_prefix_tokens(self) -> int:
        return len(self.head_ids) + self.num_document_tokens

    @property
    def num_tokens(self) -> int:
        return self.num_prefix_tokens + len(self.tail_ids)

    def prefix_ids(self) -> TokenIds:
        return np.concatenate([self.head_ids, self.document.token_ids[: self.num_document_tokens]])

    def token_ids(self) -> TokenIds:
        return np.concatenate([self.prefix_ids(), self.tail_ids])


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One prompt with its address and its targets."""

    cell: Cell
    prompt: Prompt
    targets: tuple[str, ...]
    draft_ids: TokenIds
    """Tokens of the first target where it would follow the prompt; empty if it has no clean boundary."""
    needle_position: int
    """First token of the needle, counted from the start of the prompt."""
    needle_depth: float
    """Where the needle really is: its first token over the document tokens before and after it."""

    @property
    def id(self) -> str:
        return self.prompt.id


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend made of one prompt. `error` is set exactly when the status is not ok."""

    prompt_id: str
    status: Status
    text: str
    num_completion_tokens: int
    num_prefilled_tokens: int
    """Prompt tokens computed for this answer and not charged to an earlier one."""
    num_prefilled_prefix_tokens: int
    """Of these, tokens of the head and the document."""
    target_logprob: float | None
    """Natural log of the probability of the drafted target, given the prompt; None without a draft."""
    seconds: float
    error: str | None = None

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.error is None):
            raise ValueError(f"status {self.status!r} with error {self.error!r}")


@dataclass(frozen=True, slots=True)
class Score:
    """How right one answer is: 0.0 to 1.0."""

    value: float
    near_miss: bool
    """Wrong by a slip of one or two characters."""


@dataclass(frozen=True, slots=True)
class Row:
    """One finished sample, flat, as it stands in rows.jsonl. Has a score exactly when its status is ok."""

    sample_id: str
    task: str
    design: Design
    length: int
    depth: float
    trial: int
    status: Status
    score: float | None
    near_miss: bool | None
    targets: tuple[str, ...]
    answer: str
    error: str | None
    beyond_window: bool
    needle_position: int
    needle_depth: float
    num_prompt_tokens: int
    max_new_tokens: int
    num_completion_tokens: int
    num_prefilled_tokens: int
    num_prefilled_prefix_tokens: int
    target_logprob: float | None
    seconds: float
    finished: str
    """UTC time, ISO 8601."""

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.score is not None):
            raise ValueError(f"status {self.status!r} with score {self.score!r}")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Row:
        """The row that `to_json` wrote; raises TypeError for a missing or an unknown field."""
        return cls(**{**values, "targets": tuple(values["targets"])})
