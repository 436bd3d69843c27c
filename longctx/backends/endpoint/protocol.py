"""Requests and streamed answers of OpenAI's protocol, chat and completions, as plain records.

Chunks come as dictionaries, as they stood in the stream: what servers really send has fields that the protocol does
not know (reasoning_content), lacks fields that it demands, and holds chat-style log-probabilities in completions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longctx.backends.endpoint.faults import RequestFailed

_THINK, _END_OF_THINKING = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to ask for."""

    content: str | list[int] = field(repr=False)
    """A chat message, a text or token ids, as the API takes."""
    num_tokens: int
    """Tokens of the whole prompt, by our own count."""
    max_tokens: int
    temperature: float = 0.0
    num_top_logprobs: int = 0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token of an answer: natural log of its probability, and of the most probable ones at its place."""

    token: str
    logprob: float
    top: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Usage:
    num_prompt_tokens: int
    num_completion_tokens: int
    num_cached_tokens: int | None = None
    num_reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Times are in seconds from the request; None where nothing came."""

    pieces: tuple[str, ...]
    """The answer's text as it came, without reasoning."""
    reasoning: str
    finish_reason: str
    refusal: str
    usage: Usage | None
    logprobs: tuple[TokenLogprob, ...]
    first_token_at: float | None
    last_token_at: float | None
    model: str
    fingerprint: str

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class ReplyReader:
    """Puts a reply together from chunks; raises RequestFailed for what is not the protocol."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._finish_reason = self._model = self._fingerprint = ""
        self._usage: Usage | None = None
        self._logprobs: list[TokenLogprob] = []
        self._first: float | None = None
        self._last: float | None = None

    def add(self, chunk: Any, at: float) -> None:
        """The next chunk, which came `at` seconds after the request."""
        try:
            self._add(chunk, at)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise RequestFailed("malformed", f"not the protocol: {type(error).__name__}: {error}") from error

    def _add(self, chunk: Any, at: float) -> None:
        self._model = str(chunk.get("model") or self._model)
        self._fingerprint = str(chunk.get("system_fingerprint") or self._fingerprint)
        if chunk.get("usage"):
            self._usage = _usage(chunk["usage"])
        choices = chunk["choices"]
        if not isinstance(choices, list):
            raise TypeError(f"choices are {choices!r}")
        for choice in choices:
            delta = choice.get("delta") or choice
            said = delta.get("content") or delta.get("text") or ""
            thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
            self._refusal.append(delta.get("refusal") or "")
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            self._logprobs += _logprobs(choice.get("logprobs"))
            if not isinstance(said, str) or not isinstance(thought, str):
                raise TypeError(f"text is {said!r}")
            if said or thought:
                self._first = at if self._first is None else self._first
                self._last = at
            self._pieces += [said] if said else []
            self._reasoning.append(thought)

    def reply(self) -> Reply:
        """The whole answer; raises RequestFailed if the stream stopped before its end."""
        if not self._finish_reason:
            raise RequestFailed("disconnected", "the stream stopped before the answer's end")
        inside, pieces = split_thinking(self._pieces)
        return Reply(
            pieces=tuple(pieces),
            reasoning="".join(self._reasoning) + inside,
            finish_reason=self._finish_reason,
            refusal="".join(self._refusal),
            usage=self._usage,
            logprobs=tuple(self._logprobs),
            first_token_at=self._first,
            last_token_at=self._last,
            model=self._model,
            fingerprint=self._fingerprint,
        )


def split_thinking(pieces: list[str]) -> tuple[str, list[str]]:
    """Reasoning that stands in the answer itself, between <think> and </think>, and the pieces after it."""
    text = "".join(pieces)
    if not text.lstrip().startswith(_THINK):
        return "", pieces
    thought, end, rest = text.partition(_END_OF_THINKING)
    reasoning = thought.lstrip().removeprefix(_THINK)
    return reasoning, [rest] if end and rest.strip() else []


def _usage(usage: Mapping[str, Any]) -> Usage:
    prompt, completion = int(usage["prompt_tokens"]), int(usage.get("completion_tokens") or 0)
    if min(prompt, completion) < 0:
        raise ValueError(f"usage is {usage}")
    of_prompt = usage.get("prompt_tokens_details") or {}
    of_completion = usage.get("completion_tokens_details") or {}
    return Usage(prompt, completion, of_prompt.get("cached_tokens"), of_completion.get("reasoning_tokens"))


def _logprobs(found: Any) -> list[TokenLogprob]:
    if not found:
        return []
    if found.get("content") is not None:  # chat style
        return [
            _logprob(one["token"], one["logprob"], {t["token"]: t["logprob"] for t in one["top_logprobs"]})
            for one in found["content"]
        ]
    tokens, logprobs = found.get("tokens") or [], found.get("token_logprobs") or []
    tops = found.get("top_logprobs") or [{} for _ in tokens]
    return [
        _logprob(token, logprob, top or {})
        for token, logprob, top in zip(tokens, logprobs, tops, strict=True)
        if logprob is not None
    ]


def _logprob(token: str, logprob: float, top: Mapping[str, float]) -> TokenLogprob:
    """Of the most probable tokens, those that are possible at all; raises ValueError for one said that was not."""
    if not math.isfinite(float(logprob)):
        raise ValueError(f"the log-probability of a token is {logprob}")
    return TokenLogprob(token, float(logprob), {name: value for name, value in top.items() if math.isfinite(value)})
