"""The records that cross module boundaries, in the order the data takes:

Haystack -> Document -> Sample(Prompt, targets) -> Answer -> Score -> Row -> Report

All are frozen; this module imports nothing of ours. Token ids are int32 arrays of shape (num_tokens,).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int32]
LocalStatus = Literal["ok", "oom", "no_space", "error"]
ServedStatus = Literal[
    "timeout",  # no answer, or no end of one, in time
    "disconnected",  # refused or reset connections, streams that stop before they end
    "rate_limited",
    "server_error",  # 5xx, or an error in mid-stream
    "malformed",  # not the protocol
    "rejected",  # another 4xx
    "too_long",  # the server says that the prompt does not fit its window
    "refused",  # a content filter, or a refusal in the protocol's own field
    "truncated",  # the server counted fewer tokens than the prompt has
    "miscounted",  # it counted more, or none
    "empty",
    "empty_thinking",  # nothing but reasoning
]
Status = Literal[LocalStatus, ServedStatus]
"""Why there is no score; ok where there is one."""
Design = Literal["isolated", "packed"]
Control = Literal["closed_book", "short", "canary"]
"""closed_book: the question alone; short: the question after the supporting text alone; canary: is all of it read?"""
Bytes: TypeAlias = bytes | memoryview


@dataclass(frozen=True, slots=True, eq=False)
class Haystack:
    """Filler text of one trial, tokenised; the arrays may be memory-mapped.

    Sentence i is `token_ids[starts[i]:starts[i + 1]]` and `text[text_starts[i]:text_starts[i + 1]]`. Every sentence
    begins with a space and ends where a token ends, so that sentences can be taken out, moved and joined without
    changing any token.
    """

    name: str
    token_ids: TokenIds = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)
    """Token offsets of the sentences, shape (num_sentences + 1,)."""
    text: NDArray[np.uint8] = field(repr=False)
    """UTF-8."""
    text_starts: NDArray[np.int64] = field(repr=False)
    """Byte offsets of the sentences, shape (num_sentences + 1,)."""
    repeated: NDArray[np.int64] = field(repr=False)
    """How many 8-grams of tokens in the first i sentences had come before, shape (num_sentences + 1,)."""
    movable: NDArray[np.bool_] = field(repr=False)
    """Sentences that may stand anywhere, shape (num_sentences,)."""

    @property
    def num_sentences(self) -> int:
        return len(self.starts) - 1

    def sentence_text(self, index: int) -> str:
        return self.text[self.text_starts[index] : self.text_starts[index + 1]].tobytes().decode()


@dataclass(frozen=True, slots=True)
class Needle:
    """Text that is put between two sentences of the filler: a sentence, or several."""

    text: str
    depth: float
    """Asked-for place: 0.0 is the start of the document, 1.0 its end."""


@dataclass(frozen=True, slots=True)
class Item:
    """What a task asks once: what is inserted, a question about it, and what is right."""

    needles: tuple[Needle, ...]
    """All inserted texts; those of the same depth keep their order."""
    question: str
    answer_prefix: str
    """Put after the assistant header, so that the model completes it; may be empty."""
    targets: tuple[str, ...]
    support: tuple[int, ...] = (0,)
    """Which of the needles the answer needs; the first of them is the one that stands at the cell's depth."""
    candidates: tuple[str, ...] = ()
    """The closed set that the answer is from, where there is one: guessing is right once in as many."""
    kind: str = ""
    """What sort of question of its task it is, where there are several."""
    hops: int = 1
    """How many facts have to be put together."""


@dataclass(frozen=True, slots=True)
class Question:
    """What sort of question a sample asks."""

    kind: str = ""
    hops: int = 1
    candidates: tuple[str, ...] = ()
    """The closed set that the answer is from; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A whole document of a task that writes its own: entries in order, each with the blank or line break before it."""

    entries: tuple[str, ...]
    support: tuple[int, ...]
    """Which entries the answer needs."""
    question: str
    answer_prefix: str
    targets: tuple[str, ...]
    candidates: tuple[str, ...] = ()
    kind: str = ""
    hops: int = 1


@dataclass(frozen=True, slots=True)
class Recall:
    """A question about a story that the filler itself tells."""

    support_events: tuple[int, ...]
    """Ids of the events that the answer needs, in the order of telling."""
    question: str
    answer_prefix: str
    targets: tuple[str, ...]
    candidates: tuple[str, ...]
    kind: str
    hops: int


@dataclass(frozen=True, slots=True)
class Given:
    """A whole prompt that somebody else wrote, with its place in the grid."""

    text: str
    length: int
    depth: float
    targets: tuple[str, ...]
    answer_prefix: str = ""
    max_new_tokens: int | None = None


Asked: TypeAlias = Item | Listing | Recall


@dataclass(frozen=True, slots=True)
class Cell:
    """Address of one sample in the grid of a sweep."""

    task: str
    length: int
    """Context length in tokens: template + document + question + room for the completion. 0 for a control."""
    depth: float
    """Asked-for place of the needle: 0.0 is the start of the document, 1.0 its end."""
    trial: int


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A haystack with its needles in place. One document serves every prompt that reads a prefix of it."""

    id: str
    """Hash of the token ids."""
    token_ids: TokenIds = field(repr=False)
    parts: tuple[Bytes, ...] = field(repr=False, default=())
    """The same as text, UTF-8, in pieces."""
    repeated_share: float = 0.0
    """Share of its filler's 8-grams of tokens that are not first occurrences."""


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
    head_text: str = ""
    num_text_bytes: int = 0
    """Bytes of the document's text that the prompt reads. Its last tokens may be the tail's first: they merge."""
    tail_text: str = ""

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

    def ids_between(self, start: int, stop: int) -> TokenIds:
        """The ids of some tokens, counted from the prompt's start, without those of a long document around them."""
        parts, found, before = (
            (self.head_ids, self.document.token_ids[: self.num_document_tokens], self.tail_ids),
            [],
            0,
        )
        for part in parts:
            found.append(part[max(0, start - before) : max(0, stop - before)])
            before += len(part)
        return np.concatenate(found)

    def text(self) -> str:
        """What a tokenizer makes the token ids of, without a BOS that it would put in front."""
        shown: list[Bytes] = [self.head_text.encode()]
        left = self.num_text_bytes
        for part in self.document.parts:
            shown.append(part[:left])
            left = max(0, left - len(part))
        return b"".join([*shown, self.tail_text.encode()]).decode()


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One prompt with its address and its targets."""

    cell: Cell
    prompt: Prompt
    targets: tuple[str, ...]
    draft_ids: TokenIds
    """Tokens of the first target where it would follow the prompt; empty if it has no clean boundary."""
    support_positions: tuple[int, ...]
    """First tokens of all that the answer needs, counted from the start of the prompt; empty if it stands nowhere."""
    needle_depth: float
    """Where the first of these really is: its first token over the document tokens before and after it."""
    question: Question = field(default_factory=lambda: Question())
    control: Control | None = None
    """Set for a prompt that shows what the score of a cell is worth, and belongs to no cell itself."""

    @property
    def id(self) -> str:
        return self.prompt.id


@dataclass(frozen=True, slots=True)
class Served:
    """What a server said of one answer, and how fast it came; None for what it did not say."""

    server_prompt_tokens: int | None = None
    """Its own count of the prompt."""
    cached_prompt_tokens: int | None = None
    """Of these, those that it had read before."""
    num_reasoning_tokens: int | None = None
    reasoning: str = ""
    """What a thinking model wrote before its answer."""
    ttft_seconds: float | None = None
    """From the request to the first token."""
    tpot_seconds: float | None = None
    """For each token after the first."""
    server_model: str = ""
    server_fingerprint: str = ""
    """The version of model or engine that it states."""
    num_attempts: int = 1


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
    served: Served | None = None

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.error is None):
            raise ValueError(f"status {self.status!r} with error {self.error!r}")


@dataclass(frozen=True, slots=True)
class Score:
    """How right one answer is: 0.0 to 1.0."""

    value: float
    near_miss: bool
    """Wrong by a slip of one or two characters."""
    strict: float | None = None
    """By a stricter rule of ours, where the task's own rule is a known lenient one."""


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
    needle_position: int | None
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
    strict_score: float | None = None
    control: Control | None = None
    kind: str = ""
    hops: int = 1
    num_candidates: int = 0
    support_positions: tuple[int, ...] = ()
    repeated_share: float = 0.0
    excerpt: str = ""
    """The prompt around what the answer needs, for people to read; bounded."""
    question: str = ""
    """The prompt's last words, from the end of the document on; bounded."""
    server_prompt_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    num_reasoning_tokens: int | None = None
    reasoning: str = ""
    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    server_model: str = ""
    server_fingerprint: str = ""
    num_attempts: int = 1

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.score is not None):
            raise ValueError(f"status {self.status!r} with score {self.score!r}")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Row:
        """The row that `to_json` wrote; raises TypeError for a missing or an unknown field."""
        lists = ("targets", "support_positions")
        return cls(**values | {name: tuple(values[name]) for name in lists if name in values})
