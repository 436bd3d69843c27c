"""A prompt read whole, in chunks, and streamed: the same logits around every length at which something changes?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import DynamicCache

from longctx.check.config import eager_bytes, layer_reaches, original_windows, temperature
from longctx.check.finding import Finding
from longctx.check.probe import attention_of
from longctx.engine.attention import NAME as STREAMED
from longctx.engine.kernels import Kernel
from longctx.engine.kv import StreamedCache
from longctx.engine.reader import FAILURES, failure_status
from longctx.engine.selftest import read_in_chunks, tolerance
from longctx.engine.tiers import Tiers
from longctx.errors import ModelError
from longctx.lengths import format_length

TextIds = Callable[[int], torch.Tensor]
"""Token ids (n,) of a text of n tokens."""

_WHOLE, _CHUNKED, _STREAMED = "own reading", "own reading in chunks", "streamed reading"
_FIXED = (8192, 32768, 131072)
_SHORT = 200
# Tokens after a boundary, and how many positions around it are compared.
_PAST, _COMPARED = 4, 8
_FAILURES = (*FAILURES, ModelError)


def boundaries(config: Any) -> dict[int, str]:
    """Lengths in tokens at which the model may change what it does, ascending, each with the reason."""
    found = {_SHORT: "short prompt"} | dict.fromkeys(_FIXED, "common window")
    found |= dict.fromkeys(original_windows(config), "original window")
    found |= {reach.size: str(reach) for reach in layer_reaches(config) if reach.size}
    tuned = temperature(config)
    if tuned is not None:
        found[tuned.step] = "temperature step"
    return dict(sorted(found.items()))


@torch.inference_mode()
def _whole(model: Any, ids: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=ids[None], use_cache=False, logits_to_keep=_COMPARED).logits
    return logits[0, -_COMPARED:].float()


@torch.inference_mode()
def _streamed(model: Any, ids: torch.Tensor, kernel: Kernel, chunk: int) -> torch.Tensor:
    """As a sweep reads: a document in blocks, and what is past the boundary as a question about it."""
    with attention_of(model, STREAMED):
        tiers = Tiers.in_memory(model.device, 2**60, max(16, len(ids) // 24), kernel)
        cache = StreamedCache(model.config, tiers)
        document, question = ids[:-_PAST], ids[-_PAST:]
        rows = read_in_chunks(model, document, cache, chunk, _COMPARED, cache.commit)
        asked = cache.ask()
        asked.begin_rows(torch.ones(1, _PAST, dtype=torch.bool))
        logits = model(input_ids=question[None], past_key_values=asked, use_cache=True, logits_to_keep=_PAST).logits
    return torch.cat([rows, logits[0, -_PAST:].float()])[-_COMPARED:]


def check_boundaries(
    model: Any, config: Any, kernel: Kernel, texts: dict[str, TextIds], longest: int, free_bytes: int
) -> Iterator[Finding]:
    """Two findings for every boundary and text up to `longest` tokens, as far as memory allows."""
    at = {min(longest, config.max_position_embeddings) - _PAST: "the longest asked for"} | boundaries(config)
    for boundary, reason in sorted(at.items()):
        num_tokens = boundary + _PAST
        where = f"{boundary:,} tokens ({reason})"
        needed = eager_bytes(config, num_tokens)
        if not getattr(config, "rope_parameters", None) and num_tokens > config.max_position_embeddings:
            yield Finding(_STREAMED, where, "skipped", "", "past the positions that the model has learned")
        elif boundary > longest:
            yield Finding(_STREAMED, where, "skipped", "", f"over --longest {format_length(longest)}")
        elif needed > free_bytes:
            meaning = f"own eager attention needs {needed / 2**30:.0f} GiB, {free_bytes / 2**30:.0f} are free"
            yield Finding(_STREAMED, where, "skipped", "", meaning)
        else:
            for text, make_ids in texts.items():
                yield from _compare(model, make_ids(num_tokens).to(model.device), kernel, f"{where}, {text}")


def _compare(model: Any, ids: torch.Tensor, kernel: Kernel, where: str) -> Iterator[Finding]:
    """The prompt `ids` (n,) read with the model's own attention, whole and in chunks, and streamed."""
    chunk, allowed = max(24, len(ids) // 16) | 1, tolerance(model.dtype)
    try:
        whole = _attempt(lambda: _whole(model, ids))
        if isinstance(whole, Exception) or not bool(torch.isfinite(whole).all()):
            reason = (
                f"raises {type(whole).__name__}" if isinstance(whole, Exception) else "gives NaN or infinite logits"
            )
            yield Finding(_WHOLE, where, "differs", "", f"model: own attention {reason}")
            return
        own_cache = DynamicCache(config=model.config)
        chunked = _attempt(lambda: read_in_chunks(model, ids, own_cache, chunk, _COMPARED, lambda _: None))
        streamed = _attempt(lambda: _streamed(model, ids, kernel, chunk))
    except _FAILURES:
        yield Finding(_STREAMED, where, "skipped", "", "out of memory")
        return
    off, failure = _difference(chunked, whole)
    if off <= allowed:
        yield Finding(_CHUNKED, where, "passes", f"{off:.1e} std", "as in one forward")
    else:
        meaning = f"model: own attention in chunks differs from whole, in transformers' or the model's code{failure}"
        yield Finding(_CHUNKED, where, "differs", f"{off:.1e} std", meaning)
    off, failure = _difference(streamed, whole)
    if off <= allowed:
        yield Finding(_STREAMED, where, "passes", f"{off:.1e} std", "as the model's own attention")
        return
    meaning = f"stack: own attention and streamed attention differ{failure}"
    if isinstance(chunked, torch.Tensor) and _difference(streamed, chunked)[0] <= allowed:
        meaning = "model: streamed is as its own attention in chunks, which differs from whole"
    yield Finding(_STREAMED, where, "differs", f"{off:.1e} std", meaning)


def _attempt(read: Callable[[], torch.Tensor]) -> torch.Tensor | Exception:
    """What was read, or why it could not be; raises what tells of too little memory."""
    try:
        return read()
    except _FAILURES as error:
        if failure_status(error) == "oom":
            raise
        return error


def _difference(found: torch.Tensor | Exception, wanted: torch.Tensor) -> tuple[float, str]:
    """The largest in standard deviations of the wanted logits, and the words of a failure."""
    if isinstance(found, Exception):
        return math.inf, f": {type(found).__name__}: {str(found).splitlines()[0]}"
    off = float((found - wanted).abs().max() / wanted.std())
    return (math.inf, ": not finite") if math.isnan(off) else (off, "")
