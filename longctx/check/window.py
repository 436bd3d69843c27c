"""Whether the places that state a model's window agree, and whether anything can see across it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from longctx.check.config import layer_reaches, original_windows
from longctx.check.finding import Finding

_NAME = "advertised window"
# Tokenizers without a limit say 1e30.
_NO_LIMIT = 10**18


def check_window(config: Any, window: int, model_max_length: int) -> Iterator[Finding]:
    """Findings about `window`, the config's max_position_embeddings in tokens."""
    if model_max_length < _NO_LIMIT and model_max_length != window:
        figure = f"{model_max_length:,} tokens"
        meaning = f"the tokenizer's limit is another than the config's {window:,}; some servers cut prompts to it"
        yield Finding(_NAME, "tokenizer", "warns", figure, meaning)
    else:
        yield Finding(_NAME, "tokenizer", "passes", f"{window:,} tokens", "the tokenizer states the same, or no limit")
    yield from _scaling(config, window)
    yield from _sight(config, window)


def _scaling(config: Any, window: int) -> Iterator[Finding]:
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [value for value in parameters.values() if isinstance(value, dict)] or [parameters]
    for given in kinds:
        factor, original = given.get("factor"), given.get("original_max_position_embeddings")
        if (
            not factor or not original or given.get("rope_type") == "llama3"
        ):  # whose factor stretches waves, not windows
            continue
        stretched = int(factor * original)
        if stretched == window:
            meaning = "RoPE scaling makes up the window"
            yield Finding(_NAME, "RoPE scaling", "passes", f"{factor:g} x {original:,}", meaning)
        else:
            meaning = f"RoPE scaling gives {stretched:,} tokens, the config advertises {window:,}"
            yield Finding(_NAME, "RoPE scaling", "warns", f"{factor:g} x {original:,}", meaning)
    scaled = any(given.get("rope_type", "default") != "default" for given in kinds)
    if not scaled and any(size < window for size in original_windows(config)):
        yield Finding(_NAME, "RoPE scaling", "warns", "", "an original window is named, and no scaling from it")


def _sight(config: Any, window: int) -> Iterator[Finding]:
    reaches = layer_reaches(config)
    longest = max(reach.size for reach in reaches)
    if any(reach.kind == "full" for reach in reaches) or longest >= window:
        return
    meaning = f"every layer is local: no layer sees beyond {longest:,} tokens, so more only seeps through the layers"
    yield Finding(_NAME, "layers", "warns", f"{longest:,} tokens", meaning)
