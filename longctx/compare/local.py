"""A transformers model in this process as a source, with transformers' own attention and cache.

Each prompt is read once; samples continue it side by side.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from longctx.backends.endpoint.protocol import TokenLogprob
from longctx.compare.records import Said
from longctx.compare.source import TOP_LOGPROBS
from longctx.documents.tokenizer import Tokenizer
from longctx.engine.completion import end_ids
from longctx.records import Prompt

_CHUNK = 1024


class LocalSource:
    def __init__(self, name: str, model: Any, tokenizer: Tokenizer, fingerprint: Mapping[str, Any]) -> None:
        """`model` is a transformers causal LM in evaluation mode."""
        self.name = name
        self.fingerprint = fingerprint
        self._model = model
        self._decode = tokenizer.decode
        self._ends = end_ids(model)
        self._read: tuple[str, Any, torch.Tensor] | None = None

    @torch.inference_mode()
    def greedy(self, prompt: Prompt) -> Said:
        """Plain greedy decoding."""
        cache, logits = self._prefix(prompt)
        tokens: list[int] = []
        logprobs: list[TokenLogprob] = []
        while len(tokens) < prompt.max_new_tokens:
            scores = torch.log_softmax(logits[0].float(), dim=-1)
            token = int(scores.argmax())
            if token in self._ends:
                break
            tokens.append(token)
            logprobs.append(self._logprob(token, scores))
            logits = self._step(torch.tensor([token]), cache)
        text = self._decode(tokens)
        return Said("ok" if text else "empty", text, tuple(logprobs))

    @torch.inference_mode()
    def draw(self, prompt: Prompt, num_samples: int, seed: int) -> tuple[str, ...]:
        generator = torch.Generator().manual_seed(seed)
        cache, logits = self._prefix(prompt)
        cache.batch_repeat_interleave(num_samples)
        logits = logits.expand(num_samples, -1)
        rows: list[list[int]] = [[] for _ in range(num_samples)]
        going = [True] * num_samples
        for _ in range(prompt.max_new_tokens):
            shares = torch.softmax(logits.float(), dim=-1).cpu()
            tokens = torch.multinomial(shares, 1, generator=generator)[:, 0]
            for row, token in enumerate(tokens.tolist()):
                going[row] = going[row] and token not in self._ends
                if going[row]:
                    rows[row].append(token)
            if not any(going):
                break
            logits = self._step(tokens, cache)
        return tuple(map(self._decode, rows))

    def _prefix(self, prompt: Prompt) -> tuple[Any, torch.Tensor]:
        """A cache that holds the prompt, to be written on, and the logits of shape (1, vocabulary) after it."""
        if self._read is None or self._read[0] != prompt.id:
            from transformers import DynamicCache

            ids = torch.as_tensor(prompt.token_ids()).long()[None].to(self._model.device)
            cache = DynamicCache(config=self._model.config)
            for start in range(0, ids.shape[1], _CHUNK):
                chunk = ids[:, start : start + _CHUNK]
                out = self._model(input_ids=chunk, past_key_values=cache, use_cache=True, logits_to_keep=1)
            self._read = (prompt.id, cache, out.logits[:, -1])
        return copy.deepcopy(self._read[1]), self._read[2]

    def _step(self, tokens: torch.Tensor, cache: Any) -> torch.Tensor:
        """Logits of shape (num_tokens, vocabulary) after one more token in every row."""
        ids = tokens[:, None].to(self._model.device)
        logits: torch.Tensor = self._model(input_ids=ids, past_key_values=cache, use_cache=True).logits[:, -1]
        return logits

    def _logprob(self, token: int, scores: torch.Tensor) -> TokenLogprob:
        top = torch.topk(scores, TOP_LOGPROBS)
        listed = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return TokenLogprob(
            self._decode([token]), float(scores[token]), {self._decode([other]): value for other, value in listed}
        )
