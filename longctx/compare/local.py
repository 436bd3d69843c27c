"""A transformers model in this process as a source, read by the engine: any length that its tiers hold.

Each prompt is read once, all but its last token, which begins every row of what is said after it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from longctx.backends.endpoint.protocol import TokenLogprob
from longctx.backends.hf import make_tiers
from longctx.compare.records import Said
from longctx.compare.source import TOP_LOGPROBS
from longctx.config import KvBudget, SweepConfig
from longctx.documents.tokenizer import Tokenizer
from longctx.engine.kv import StreamedCache
from longctx.engine.loading import choose_device, choose_dtype, load_model, read_card
from longctx.engine.reader import FAILURES, Reader, failure_status, free_device_memory
from longctx.engine.sources import find_source, prepare
from longctx.records import Prompt, Status, TokenIds

_CHUNK = 1024


class LocalSource:
    def __init__(self, name: str, reader: Reader, fingerprint: Mapping[str, Any]) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self._reader = reader
        self._read: tuple[str, StreamedCache] | None = None

    def greedy(self, prompt: Prompt) -> Said:
        """Plain greedy decoding; a prompt for which there is no memory is a failure, not the end."""
        try:
            return self._decode(prompt)
        except FAILURES as error:
            return Said(self._failed(error))

    def draw(self, prompt: Prompt, num_samples: int, seed: int) -> tuple[str, ...]:
        """Completions side by side, each token from the softmax as it is; none where there is no memory."""
        try:
            return self._sample(prompt, num_samples, torch.Generator().manual_seed(seed))
        except FAILURES as error:
            self._failed(error)
            return ()

    def _failed(self, error: Exception) -> Status:
        """The status of a failure; raises what is not a lack of memory."""
        status = failure_status(error)
        if status == "error":
            raise error
        self._read = None
        free_device_memory()
        return status

    def _decode(self, prompt: Prompt) -> Said:
        rows, logits = self._begin(prompt, 1)
        tokens: list[int] = []
        logprobs: list[TokenLogprob] = []
        while len(tokens) < prompt.max_new_tokens:
            scores = torch.log_softmax(logits[0], dim=-1)
            token = int(scores.argmax())
            if token in self._reader.finisher.end_ids:
                break
            tokens.append(token)
            logprobs.append(self._logprob(token, scores))
            logits = self._step([token], rows)
        text = self._reader.finisher.decode(tokens)
        return Said("ok" if text else "empty", text, tuple(logprobs))

    def _sample(self, prompt: Prompt, num_samples: int, generator: torch.Generator) -> tuple[str, ...]:
        rows, logits = self._begin(prompt, num_samples)
        drawn: list[list[int]] = [[] for _ in range(num_samples)]
        going = [True] * num_samples
        for _ in range(prompt.max_new_tokens):
            tokens = torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=generator)[:, 0].tolist()
            for row, token in enumerate(tokens):
                going[row] = going[row] and token not in self._reader.finisher.end_ids
                if going[row]:
                    drawn[row].append(token)
            if not any(going):
                break
            logits = self._step(tokens, rows)
        return tuple(map(self._reader.finisher.decode, drawn))

    def _begin(self, prompt: Prompt, num_rows: int) -> tuple[StreamedCache, torch.Tensor]:
        """Rows over the prompt, and the logits (num_rows, vocabulary) after it."""
        ids = prompt.token_ids()
        if self._read is None or self._read[0] != prompt.id:
            self._read = None  # its blocks are free for the next
            self._read = prompt.id, self._document(ids[:-1])
        rows = self._read[1].ask(num_rows)
        return rows, self._step([int(ids[-1])] * num_rows, rows)

    def _document(self, ids: TokenIds) -> StreamedCache:
        cache = self._reader.new_cache()
        for start in range(0, len(ids), _CHUNK):
            self._reader.prefill(ids[start : start + _CHUNK], cache)
        return cache

    def _step(self, tokens: list[int], rows: StreamedCache) -> torch.Tensor:
        """Logits (rows, vocabulary) in float32, in host memory, after one more token in every row."""
        logits = self._reader.ask([[token] for token in tokens], rows, 1)
        rows.take_back(torch.ones(len(tokens), 1, dtype=torch.bool))
        return logits[:, -1].float().cpu()

    def _logprob(self, token: int, scores: torch.Tensor) -> TokenLogprob:
        top = torch.topk(scores, TOP_LOGPROBS)
        listed = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        decode = self._reader.finisher.decode
        return TokenLogprob(decode([token]), float(scores[token]), {decode([other]): value for other, value in listed})


def load_local(name: str, config: SweepConfig, tokenizer: Tokenizer, budget: KvBudget | None = None) -> LocalSource:
    """The model called `name` on its device, for prompts as long as those of `config`; raises ModelError.

    Keys and values take what memory is free, or stay within `budget`.
    """
    card = read_card(prepare(find_source(name)))
    device = choose_device(config.device)
    resolved = dataclasses.replace(config, device=device, dtype=choose_dtype(config.dtype, device))
    loaded = load_model(card, resolved.dtype, device, config.attention, config.rope, max(config.lengths))
    tiers = make_tiers(loaded, resolved, budget or KvBudget())
    reader = Reader(loaded.model, tokenizer.decode, card.shape, tiers)
    return LocalSource(name, reader, {**loaded.fingerprint, "tokenizer": tokenizer.fingerprint})
