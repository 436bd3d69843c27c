"""The tested model's tokenizer, as the few calls that building prompts needs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from longctx.errors import ModelError
from longctx.records import TokenIds


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """Tokens of a text with the characters that each covers, all of shape (num_tokens,)."""

    token_ids: TokenIds
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def boundary(self, position: int) -> int | None:
        """Number of tokens before character `position`, or None if a token spans it."""
        counts, clean = self.boundaries(np.array([position]))
        return int(counts[0]) if clean[0] else None

    def boundaries(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Number of tokens before each character position, and whether no token spans it.

        A token may leave the blank in front of it out of its span, so a boundary is clean when
        the tokens before end at or before it and the tokens after start at or after it.
        """
        counts = np.searchsorted(self.ends, positions, side="right")
        following = np.append(self.starts, np.iinfo(np.int64).max)[counts]
        return counts.astype(np.int64), following >= positions


class Tokenizer(Protocol):
    """What longctx asks of a tokenizer."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def has_chat_template(self) -> bool: ...

    @property
    def prefix_ids(self) -> list[int]:
        """What the tokenizer puts before plain text: a BOS token, or nothing."""
        ...

    @property
    def special_texts(self) -> tuple[str, ...]:
        """Texts such as <|im_end|> that `encode` takes for more than text."""
        ...

    def encode(self, text: str) -> Encoding:
        """Tokens of `text` as it stands, nothing added."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        """The same for many texts, on all cores where it can."""
        ...

    def decode(self, token_ids: list[int]) -> str:
        """Text of the tokens, special tokens left out."""
        ...

    def render_chat(self, content: str) -> str:
        """One user turn in the chat template, up to where the assistant speaks."""
        ...


class HubTokenizer:
    """A transformers tokenizer with offsets (a "fast" one)."""

    def __init__(self, tokenizer: Any) -> None:
        """Raises ModelError for a tokenizer that cannot tell which characters a token covers."""
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(f"{type(tokenizer).__name__} gives no character offsets; a tokenizer.json is needed.")
        self.hub = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self.fingerprint = hashlib.sha256(self._backend.to_str().encode()).hexdigest()[:16]
        self.template_fingerprint = hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()[:16]
        self.has_chat_template = bool(tokenizer.chat_template)
        added = tokenizer.added_tokens_decoder.items()
        self.special_texts = tuple(token.content for _, token in added if token.special)
        # transformers' post-processor may also append; only what comes before the text is a prefix.
        with_special = tokenizer("a", add_special_tokens=True).input_ids
        without = tokenizer("a", add_special_tokens=False).input_ids
        places = [i for i in range(len(with_special)) if with_special[i : i + len(without)] == without]
        self.prefix_ids: list[int] = list(with_special[: places[0]]) if places else []

    def encode(self, text: str) -> Encoding:
        return self._encoding(self._backend.encode(text, add_special_tokens=False))

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        return [self._encoding(found) for found in self._backend.encode_batch(texts, add_special_tokens=False)]

    @staticmethod
    def _encoding(found: Any) -> Encoding:
        offsets = np.asarray(found.offsets, dtype=np.int64).reshape(-1, 2)
        return Encoding(np.asarray(found.ids, dtype=np.int32), offsets[:, 0], offsets[:, 1])

    def decode(self, token_ids: list[int]) -> str:
        return str(self.hub.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def render_chat(self, content: str) -> str:
        messages = [{"role": "user", "content": content}]
        return str(self.hub.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
